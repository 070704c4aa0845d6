"""What the journal costs and how much it takes: events recorded, drained into SQLite, shipped.

    python -m bench.journal [--events N] [--rounds N] [--against CHECKOUT]

Each step with the events of one image's arrival (RECEIVED, with all that it carries): recorded by
a thread that does nothing else, while the recorder's own thread drains; the same at a steady rate;
moved from the pending file of a dead process into SQLite; shipped to a private MariaDB on loopback,
with innodb_flush_log_at_trx_commit=2. CPU is that of the recording thread, of the process, and of
the server. With `--against` the same is measured with another checkout's code, the two taking
turns, each in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mysql_utilities.drain import Drain, pending_dir
from mysql_utilities.events import Event, Kind
from mysql_utilities.mysql_store import MysqlAddress
from mysql_utilities.pending import PendingFile
from mysql_utilities.recorder import Recorder
from mysql_utilities.shipper import Shipper
from tests.databases import database_server

METRICS = {
    "recorded_per_s": "recorded, events/s",
    "recorded_cpu_us": "recorded, CPU µs of the caller",
    "passed_cpu_us": "recorded and drained beside it, CPU µs of the process",
    "steady_cpu_us": "the same at 1,500 events/s, CPU µs of the process",
    "steady_caller_cpu_us": "the same, CPU µs of the caller",
    "steady_most_ms": "the same, the longest that one took the caller, ms",
    "drained_per_s": "drained out of a file, events/s",
    "drained_cpu_us": "drained out of a file, CPU µs",
    "shipped_per_s": "shipped, events/s",
    "shipped_cpu_us": "shipped, CPU µs of the shipper",
    "server_cpu_us": "shipped, CPU µs of the server",
}
_TICKS = os.sysconf("SC_CLK_TCK")
_PATIENCE_S = 300.0
_STEADY_PER_S = 1500
_STEADY_AT_ONCE = 15


def run(scratch: Path, events: int = 20_000) -> dict[str, float]:
    """One measurement of all steps; figures by the names of METRICS."""
    with tempfile.TemporaryDirectory(prefix="journal-", dir=scratch) as name:
        found = _record(Path(name) / "recorded", events)
        found |= _record_steadily(Path(name) / "steady", events // 4)
        found |= _drain(Path(name) / "drained", events)
        with database_server("mariadb", Path(name)) as server:
            pid = int((Path(name) / "data" / "pid").read_text())
            found |= _ship(Path(name) / "drained", server.database(), pid, events)
    return found


def _arrival(number: int) -> dict[str, Any]:
    at = datetime.now(UTC)
    return {
        "item": f"{at:%Y%m%dT%H%M%S.%fZ}_north-clinic_{number:016x}",
        "at": at,
        "digest": f"{number:064x}",
        "lane": "medium",
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.2",
        "sop_instance_uid": f"1.2.840.113619.2.55.3.604688119.969.1268071029.320.{number}",
        "transfer_syntax_uid": "1.2.840.10008.1.2.1",
        "calling_aet": "CT1",
        "called_aet": "NORTH",
        "peer_address": "10.0.0.12",
        "status_code": 0,
        "size_bytes": 525_312,
        "duration_s": 0.001234,
    }


def _record(journal_dir: Path, events: int) -> dict[str, float]:
    arrivals = [_arrival(number) for number in range(events)]
    with Recorder(journal_dir, "north") as recorder:
        recorder.record(Kind.OUTLET_UP)
        recorder.flush(_PATIENCE_S)
        process_s, began_s, cpu_s = time.process_time(), time.monotonic(), time.thread_time()
        for arrival in arrivals:
            recorder.record(Kind.RECEIVED, **arrival)
        cpu_s, took_s = time.thread_time() - cpu_s, time.monotonic() - began_s
        if not recorder.flush(_PATIENCE_S):
            raise RuntimeError("the journal did not keep up")
        process_s = time.process_time() - process_s
    return {
        "recorded_per_s": events / took_s,
        "recorded_cpu_us": cpu_s / events * 1e6,
        "passed_cpu_us": process_s / events * 1e6,
    }


def _record_steadily(journal_dir: Path, events: int) -> dict[str, float]:
    arrivals = [_arrival(number) for number in range(events)]
    longest_s = caller_s = 0.0
    with Recorder(journal_dir, "north") as recorder:
        recorder.record(Kind.OUTLET_UP)
        recorder.flush(_PATIENCE_S)
        process_s, began_s = time.process_time(), time.monotonic()
        for start in range(0, events, _STEADY_AT_ONCE):
            time.sleep(max(0.0, began_s + start / _STEADY_PER_S - time.monotonic()))
            before_s = time.thread_time()
            for arrival in arrivals[start : start + _STEADY_AT_ONCE]:
                at_s = time.monotonic()
                recorder.record(Kind.RECEIVED, **arrival)
                longest_s = max(longest_s, time.monotonic() - at_s)
            caller_s += time.thread_time() - before_s
        recorder.flush(_PATIENCE_S)
        process_s = time.process_time() - process_s
    return {
        "steady_cpu_us": process_s / events * 1e6,
        "steady_caller_cpu_us": caller_s / events * 1e6,
        "steady_most_ms": longest_s * 1e3,
    }


def _drain(journal_dir: Path, events: int) -> dict[str, float]:
    file = PendingFile.create(pending_dir(journal_dir))
    with file.path.open("a") as lines:
        for number in range(events):
            event = Event(kind=Kind.RECEIVED, box="north", **_arrival(number))
            lines.write(f"{event.to_json()}\n")
    drain = Drain(journal_dir, "north")
    cpu_s, began_s = time.process_time(), time.monotonic()
    drain.move_all(file)
    cpu_s, took_s = time.process_time() - cpu_s, time.monotonic() - began_s
    drain.close()
    file.remove()
    return {"drained_per_s": events / took_s, "drained_cpu_us": cpu_s / events * 1e6}


def _ship(
    journal_dir: Path, address: MysqlAddress, server_pid: int, events: int
) -> dict[str, float]:
    shipper = Shipper(journal_dir, address)
    shipped, server_s = 0, _cpu_s(server_pid)
    cpu_s, began_s = time.process_time(), time.monotonic()
    while count := shipper.ship_once():
        shipped += count
    cpu_s, took_s = time.process_time() - cpu_s, time.monotonic() - began_s
    server_s = _cpu_s(server_pid) - server_s
    shipper.close()
    if shipped != events:
        raise RuntimeError(f"shipped {shipped} of {events} events")
    return {
        "shipped_per_s": events / took_s,
        "shipped_cpu_us": cpu_s / events * 1e6,
        "server_cpu_us": server_s / events * 1e6,
    }


def _cpu_s(pid: int) -> float:
    """User and system seconds of a process: proc_pid_stat(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _of_checkout(checkout: Path, events: int) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, __file__, "--json", f"--events={events}"],
        env={**os.environ, "PYTHONPATH": str(checkout)},
        stdout=subprocess.PIPE,
        check=True,
    )
    return dict(json.loads(done.stdout))


def _said(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def _table(found: Mapping[str, list[dict[str, float]]]) -> str:
    lines = [f"| | {' | '.join(found)} |", f"|---|{'---:|' * len(found)}"]
    for metric, title in METRICS.items():
        cells = []
        for rounds in found.values():
            values = [figures[metric] for figures in rounds]
            middle = statistics.median(values)
            cells.append(f"{_said(middle)} ({_said(min(values))} to {_said(max(values))})")
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print: a table of medians with the least and the most, or JSON of one round."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--against", type=Path, help="another checkout of this repository")
    parser.add_argument("--json", action="store_true", help="one round, as JSON")
    args = parser.parse_args()
    if args.json:
        print(json.dumps(run(Path(tempfile.gettempdir()), args.events)))
        return
    ours = Path(__file__).parents[1]
    checkouts = {"this checkout": ours}
    if args.against:
        checkouts = {"the other": args.against.resolve(), **checkouts}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in checkouts}
    for _ in range(args.rounds):
        for name, checkout in checkouts.items():
            found[name].append(_of_checkout(checkout, args.events))
    print(_table(found))


if __name__ == "__main__":
    main()
