"""Fan-out: each accepted item gets its place in every outlet's queue, once its header was read.

Used by both boxes in a process of its own, so that reading headers costs the C-STORE path nothing.
An item whose file meta can't be read goes to quarantine; a data set with odd attributes goes on,
because the archive decides what it takes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mysql_utilities.events import Kind
from mysql_utilities.recorder import Recorder
from tackybox import logs
from tackybox.config import LaneRule, lane_for
from tackybox.errors import DataError
from tackybox.item import Header, read_header
from tackybox.reasons import Reason
from tackybox.service import Stop
from tackybox.spool import Entry, Lane, Outlet, Spool

RESCAN_S = 2.0
_BATCH_ENTRIES = 256


def run(
    spool: Spool,
    outlet_names: Sequence[str],
    rules: Sequence[LaneRule],
    recorder: Recorder,
    stop: Stop,
    wait: Callable[[float], object],
) -> None:
    """Fan out until told to stop; `wait` returns after so many seconds or when something came.

    Raises SpoolError if another process fans this spool out.
    """
    log = logs.get("fanout")
    outlets = [Outlet(spool.root, name) for name in outlet_names]
    with spool.workspace("fanout"):
        while not stop.is_set():
            entries = spool.arrivals(_BATCH_ENTRIES)
            for entry in entries:
                _fan_out(spool, entry, outlets, rules, recorder, log)
            for outlet in outlets if entries else ():
                outlet.bell.ring()
            if not entries:
                wait(RESCAN_S)


def _fan_out(
    spool: Spool,
    entry: Entry,
    outlets: Sequence[Outlet],
    rules: Sequence[LaneRule],
    recorder: Recorder,
    log: logs.Log,
) -> None:
    item = entry.item
    try:
        header = read_header(entry.path)
        size_bytes = entry.path.stat().st_size
        lane = _lane(header, entry.lane, rules)
        spool.fan_out(entry, outlets, lane)
    except FileNotFoundError:
        return  # moved on already
    except DataError as error:
        spool.quarantine(entry, Reason.UNREADABLE)
        recorder.record(
            Kind.QUARANTINED, item=item.id, digest=item.digest,
            sop_instance_uid=item.sop_instance_uid, lane=entry.lane, detail=Reason.UNREADABLE,
        )  # fmt: skip
        log.error("quarantined", item=item.id, reason=Reason.UNREADABLE, exc=error)
        return
    for outlet in outlets:
        recorder.record(
            Kind.QUEUED, item=item.id, digest=item.digest, destination=outlet.name, lane=lane,
            size_bytes=size_bytes, detail=header.problem, **header.event_fields(),
        )  # fmt: skip
    log.info("queued", item=item.id, lane=lane, size_bytes=size_bytes)


def _lane(header: Header, lane: Lane, rules: Sequence[LaneRule]) -> Lane:
    return Lane(
        lane_for(rules, modality=header.modality, calling_aet=header.calling_aet, otherwise=lane)
    )
