"""What the rows of the fault matrix share: seeds, the long selection, and the counts.

    @pytest.mark.fault("kill")                 the row of tests/faults/matrix.py that it belongs to
    @pytest.mark.seeds(short=1, long=100)      for how many seeds; the test takes `seed`
    @pytest.mark.long_fault                    runs only with --faults=long

`--seed N` runs tests that take a seed with N alone. `record(verdict, faults=3)` asserts that the
promise was kept and adds to the test's counts, which `--fault-results DIR` keeps: a file for each
row, a line for each test, of which the newest counts.
"""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from tests.faults.matrix import ROWS
from tests.faults.preload import Preload
from tests.faults.relay import Relay
from tests.faults.verdict import Verdict

_ROWS = pytest.StashKey[str]()
_FAILED = pytest.StashKey[bool]()


@dataclass
class Counts:
    """What one test injected and found, summed over its verdicts."""

    faults: int = 0
    answered: int = 0
    lost: int = 0
    altered: int = 0
    duplicated: int = 0


Record = Callable[..., None]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" not in metafunc.fixturenames:
        return
    chosen = metafunc.config.getoption("--seed")
    marker = metafunc.definition.get_closest_marker("seeds")
    counts = marker.kwargs if marker else {"short": 1, "long": 1}
    count = counts[metafunc.config.getoption("--faults")]
    seeds = [chosen] if chosen is not None else list(range(1, count + 1))
    metafunc.parametrize("seed", seeds, ids=[f"seed-{seed}" for seed in seeds])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    is_long = config.getoption("--faults") == "long"
    here = Path(__file__).parent
    too_long = []
    for item in items:
        if here not in item.path.parents:
            continue
        if (marker := item.get_closest_marker("fault")) is not None:
            item.stash[_ROWS] = marker.args[0]
            assert marker.args[0] in {row.id for row in ROWS}, f"{item.nodeid}: no such row"
        if item.get_closest_marker("long_fault") and not is_long:
            too_long.append(item)
    if too_long:
        config.hook.pytest_deselected(items=too_long)
        items[:] = [item for item in items if item not in set(too_long)]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    if call.when == "call":
        item.stash[_FAILED] = report.failed
    return report


@pytest.fixture(autouse=True)
def counts(request: pytest.FixtureRequest) -> Iterator[Counts]:
    """The counts of this test, for one that has no verdict of the usual kind to `record`; one that
    counts no fault is one fault."""
    found = Counts()
    began_s = time.monotonic()
    yield found
    directory = request.config.getoption("--fault-results")
    row = request.node.stash.get(_ROWS, "")
    failed = request.node.stash.get(_FAILED, True)
    if directory is not None and row:
        line = {
            "test": request.node.nodeid, "passed": not failed, **asdict(found),
            "faults": found.faults or 1,
            "took_s": round(time.monotonic() - began_s, 1),
        }  # fmt: skip
        _merge(directory / f"{row}.jsonl", line)


@pytest.fixture
def record(counts: Counts) -> Record:
    """`record(verdict, faults=n)`: count, and assert that the promise was kept."""

    def record(verdict: Verdict, *, faults: int) -> None:
        counts.faults += faults
        counts.answered += verdict.answered
        counts.lost += len(verdict.lost)
        counts.altered += len(verdict.altered)
        counts.duplicated += verdict.duplicated
        assert verdict.holds, str(verdict)

    return record


@pytest.fixture(scope="session")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    """For tests that leave it as it was, quiet; with two archives, so that fan-out makes links."""
    with Relay(tmp_path_factory.mktemp("shared"), archives=2) as relay:
        yield relay


@pytest.fixture(scope="session")
def preload(relay: Relay) -> Preload:
    """Loaded into the receiver, the pusher, the forwarder and the gate's sessions of
    `relay`; gone from the gate when the inbox is started again."""
    preload = Preload(relay.workdir)
    for daemon in (relay.daughter.receiver, relay.mother.forwarder):
        relay.restart(daemon, prefix=preload.prefix)
    preload.add_to_gate(relay.processes("sshd"))
    relay.restart(relay.daughter.pusher, prefix=preload.prefix)  # and opens sessions anew
    relay.send(relay.images(1))
    relay.wait_quiet()
    return preload


def _merge(path: Path, line: dict[str, object]) -> None:
    """Put `line` into the file at `path`, in the place of an older one of the same test."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # several tests of a row may run at once
        file.seek(0)
        lines = [json.loads(one) for one in file]
        lines = [one for one in lines if one["test"] != line["test"]] + [line]
        file.truncate(0)
        file.writelines(json.dumps(one) + "\n" for one in sorted(lines, key=_test_of))


def _test_of(line: dict[str, object]) -> str:
    return str(line["test"])
