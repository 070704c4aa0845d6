"""What a frozen or absent database costs the relay: bench/results/frozen-database.md.

    python -m bench.frozen_database [--rounds N] [--slices N] [--output FILE]

Each round measures every state of the database once, in random order, each on a fresh relay
(archive, mother, daughter, with fsync as in production) after the disk has settled. The clock runs
from the start of DCMTK's storescu until the archive has the last image. The state "none" is there
twice: how much its two columns differ is what the machine's noise alone does. The CPU time of the
relay's own processes is counted too, which other work on the machine disturbs less.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench.measure import machine_model
from mysql_utilities.mysql_store import MysqlStore
from tackybox.demo.phantom import write_ct_study
from tackybox.demo.stack import LOOPBACK, Daughter, Stack
from tests.databases import Server, as_setting, database_server
from tests.journey.conftest import digests, files, waiting
from tests.peers import require, wait_until

_WARM_UP_SLICES = 10
_PATIENCE_S = 300.0
_SETTLE_S = 2.0
_ORDER_SEED = 2026


@dataclass(frozen=True)
class State:
    """A state of the database, and how the server is brought into it and back."""

    name: str
    meaning: str
    enter: Callable[[Server], None] = lambda server: None
    leave: Callable[[Server], None] = lambda server: None


NONE = State("none", "`TACKYBOX_SQL` is not set")
STATES = (
    NONE,
    State("none, again", "the same, to see the noise"),
    State("running", "MariaDB answers"),
    State("frozen", "MariaDB is stopped with SIGSTOP", Server.freeze, Server.thaw),
    State("absent", "nothing listens at its port", Server.stop, Server.start),
)


_LETTERS = ("a", "a'", "b", "c", "d")
_RATIOS = (
    ("frozen", "running"),
    ("frozen", "none"),
    ("absent", "none"),
    ("running", "none"),
    ("none, again", "none"),
)


@dataclass(frozen=True)
class Run:
    """Seconds until the archive had everything, and seconds of CPU that the relay used."""

    archived_s: float
    cpu_s: float


def measure(state: State, server: Server, study: list[Path], warm_up: list[Path]) -> Run:
    """One run in a fresh relay; raises if anything that arrived differs from what was sent."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory, Stack(Path(directory)) as stack:
        stack.daughter_key("north")
        address = server.database()
        has_database = not state.name.startswith(NONE.name)
        settings = {"sql": as_setting(address)} if has_database else {}
        pacs, archive = stack.start_archive("archive", "ARCHIVE")
        mother = stack.start_mother("mother", pacs, **settings)
        daughter = stack.start_daughter("north", mother.destination, **settings)
        send(daughter, warm_up)
        wait_until(lambda: len(files(archive)) == len(warm_up), "warm-up arrived", _PATIENCE_S)
        wait_until(lambda: not waiting(daughter.spool), "warm-up is released", _PATIENCE_S)
        if has_database:
            with MysqlStore(address) as store:  # both boxes' connections stand
                wait_until(
                    lambda: len(store.read_after(0, 10_000)) >= 8 * len(warm_up), "it is shipped"
                )
        state.enter(server)
        os.sync()
        time.sleep(_SETTLE_S)
        try:
            return timed(stack, daughter, archive, study, warm_up)
        finally:
            state.leave(server)


def timed(
    stack: Stack, daughter: Daughter, archive: Path, study: list[Path], warm_up: list[Path]
) -> Run:
    """Send the study and wait for it in the archive."""
    began_cpu_s = cpu_s(stack)
    began_s = time.monotonic()
    send(daughter, study)
    while len(files(archive)) < len(study) + len(warm_up):
        if time.monotonic() - began_s > _PATIENCE_S:
            sys.exit(f"not archived within {_PATIENCE_S:.0f} s")
        time.sleep(0.01)
    archived_s = time.monotonic() - began_s
    wait_until(lambda: not waiting(daughter.spool), "all is released", _PATIENCE_S)
    used_cpu_s = cpu_s(stack) - began_cpu_s
    if digests(files(archive)) != digests([*study, *warm_up]):
        sys.exit("what is archived is not what was sent")
    return Run(archived_s, used_cpu_s)


def cpu_s(stack: Stack) -> float:
    """CPU seconds of the relay's daemons and of all that they started, so far; proc_pid_stat(5)."""
    fields: dict[int, list[str]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields[int(path.parent.name)] = path.read_text().rpartition(")")[2].split()
    ours = {daemon.process.pid for daemon in stack.daemons if daemon.process is not None}
    grown = True
    while grown:
        children = {pid for pid, stat in fields.items() if int(stat[1]) in ours}
        grown = not children <= ours
        ours |= children
    ticks = sum(int(tick) for pid in ours if pid in fields for tick in fields[pid][11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def send(daughter: Daughter, paths: list[Path]) -> None:
    """Send with DCMTK, one association."""
    command = [require("storescu", "dcmtk"), "-aec", daughter.aet, LOOPBACK, str(daughter.port)]
    subprocess.run(
        [*command, *map(str, paths)],
        check=True,
        capture_output=True,
        env={**os.environ, "TCP_NODELAY": "1"},
    )


def page(runs: dict[str, list[Run]], slices: int) -> str:
    """The results as Markdown."""
    archived = {name: [run.archived_s for run in found] for name, found in runs.items()}
    used = {name: [run.cpu_s for run in found] for name, found in runs.items()}
    lines = [
        "# What a frozen database costs the relay",
        "",
        f"{slices} CT slices of 512 x 512 x 16 bit, one association, through daughter, ssh, mother",
        "into an archive on the same machine, every file made durable on both boxes.",
        f"Median (least to most) of {len(archived[NONE.name])} runs in each state, in random",
        "order, each on a relay of its own: seconds until the archive had all, and CPU seconds of",
        "the relay's processes, the archive's included, the database's not.",
        "",
        "| | database | all archived, s | images/s | CPU, s |",
        "|---|---|---|---|---|",
    ]
    for letter, state in zip(_LETTERS, STATES, strict=True):
        found = archived[state.name]
        lines.append(
            f"| {letter} | {state.name}: {state.meaning} | {_spread(found)} "
            f"| {slices / statistics.median(found):.1f} | {_spread(used[state.name])} |"
        )
    lines += [
        "",
        "Ratio of the medians; in brackets the median of the ratios within each round.",
        "",
        "| | all archived | CPU |",
        "|---|---|---|",
    ]
    for over, under in _RATIOS:
        letters = {state.name: letter for letter, state in zip(_LETTERS, STATES, strict=True)}
        lines.append(
            f"| ({letters[over]})/({letters[under]}) {over} / {under} "
            f"| {_ratio(archived[over], archived[under])} | {_ratio(used[over], used[under])} |"
        )
    return "\n".join([*lines, "", *machine(), ""])


def _ratio(over: list[float], under: list[float]) -> str:
    pairs = [a / b for a, b in zip(over, under, strict=True)]
    ratio = statistics.median(over) / statistics.median(under)
    return f"{ratio:.2f} ({statistics.median(pairs):.2f})"


def machine() -> list[str]:
    """What it ran on, and how to run it again."""
    commit = _output("git", "rev-parse", "--short", "HEAD")
    return [
        f"{datetime.now(UTC):%Y-%m-%d}, commit {commit}: `python -m bench.frozen_database`. "
        f"{machine_model()},",
        f"shared with other work; Linux {platform.release()}, Python {platform.python_version()}, "
        f"pynetdicom {version('pynetdicom')}, PyMySQL {version('PyMySQL')},",
        f"{_output('mariadbd', '--version').partition('Ver ')[2].split()[0]}, "
        f"DCMTK {_output('storescu', '--version').split()[2].lstrip('v')} with TCP_NODELAY=1, "
        f"{' '.join(_output('rsync', '--version').split()[:3])}.",
    ]


def _output(*command: str) -> str:
    path = f"{os.environ['PATH']}:/usr/sbin"
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "PATH": path}
    )
    return done.stdout.strip()


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def main() -> int:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--slices", type=int, default=200)
    parser.add_argument("--output", type=Path, default=Path("bench/results/frozen-database.md"))
    args = parser.parse_args()
    order = random.Random(_ORDER_SEED)
    runs: dict[str, list[Run]] = {state.name: [] for state in STATES}
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        _, study = write_ct_study(directory / "study", args.slices)
        _, warm_up = write_ct_study(directory / "warm-up", _WARM_UP_SLICES)
        (directory / "db").mkdir()
        with database_server("mariadb", directory / "db") as server:
            for number in range(args.rounds):
                for state in order.sample(STATES, len(STATES)):
                    run = measure(state, server, study, warm_up)
                    runs[state.name].append(run)
                    print(number, state.name, run, flush=True)
                args.output.write_text(page(runs, args.slices))
    print(args.output.read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
