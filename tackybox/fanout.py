"""Fan-out: each accepted item gets its place in every outlet's queue, once its header was read.

Used by both boxes in a process of its own, so that reading headers costs the C-STORE path nothing.
An item whose file meta can't be read goes to quarantine; a data set with odd attributes goes on,
because the archive decides what it takes.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

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
_BATCH_ENTRIES = 256  # share one fsync of each outlet's directory, where there are several


@dataclass(frozen=True, slots=True)
class _Arrival:
    """An accepted item: its entry, in the lane that it is to wait in, and what was read of it."""

    entry: Entry
    header: Header
    size_bytes: int


def run(
    spool: Spool,
    outlet_names: Sequence[str],
    rules: Sequence[LaneRule],
    recorder: Recorder,
    stop: Stop,
    wait: Callable[[float], object],
    tell: Callable[[Entry, Reason], object] = lambda entry, reason: None,
) -> None:
    """Fan out until told to stop; `wait` returns after so many seconds or when something came.

    `tell` is called before an entry is put into quarantine, again if that is interrupted.
    Raises SpoolError if another process fans this spool out.
    """
    log = logs.get("fanout")
    outlets = [Outlet(spool.root, name) for name in outlet_names]
    with spool.workspace("fanout"):
        while not stop.is_set():
            entries = spool.arrivals(_BATCH_ENTRIES)
            read = (_read(spool, entry, rules, recorder, log, tell) for entry in entries)
            arrivals = {arrival.entry.path.name: arrival for arrival in read if arrival}
            for entry in spool.fan_out([one.entry for one in arrivals.values()], outlets):
                _note(arrivals[entry.path.name], outlets, recorder, log)
            for outlet in outlets if arrivals else ():
                outlet.bell.ring()
            if not entries:
                wait(RESCAN_S)


def _read(
    spool: Spool,
    entry: Entry,
    rules: Sequence[LaneRule],
    recorder: Recorder,
    log: logs.Log,
    tell: Callable[[Entry, Reason], object],
) -> _Arrival | None:
    """What arrived as `entry`; None if it is not to be handed on."""
    item = entry.item
    try:
        header = read_header(entry.path)
        size_bytes = entry.path.stat().st_size
    except FileNotFoundError:
        return None  # moved on already
    except (DataError, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.EIO:
            raise  # it is not about this file
        tell(entry, Reason.UNREADABLE)
        spool.quarantine(entry, Reason.UNREADABLE)
        recorder.record(
            Kind.QUARANTINED, item=item.id, digest=item.digest,
            sop_instance_uid=item.sop_instance_uid, lane=entry.lane, detail=Reason.UNREADABLE,
        )  # fmt: skip
        log.error("quarantined", item=item.id, reason=Reason.UNREADABLE, exc=error)
        return None
    return _Arrival(replace(entry, lane=_lane(header, entry.lane, rules)), header, size_bytes)


def _note(arrival: _Arrival, outlets: Sequence[Outlet], recorder: Recorder, log: logs.Log) -> None:
    """Put on record that it is handed to `outlets`."""
    entry, item = arrival.entry, arrival.entry.item
    fields = arrival.header.event_fields()
    for outlet in outlets:
        recorder.record(
            Kind.QUEUED, item=item.id, digest=item.digest, destination=outlet.name,
            lane=entry.lane, size_bytes=arrival.size_bytes, detail=arrival.header.problem, **fields,
        )  # fmt: skip
    log.info("queued", item=item.id, lane=entry.lane, size_bytes=arrival.size_bytes)


def _lane(header: Header, lane: Lane, rules: Sequence[LaneRule]) -> Lane:
    return Lane(
        lane_for(rules, modality=header.modality, calling_aet=header.calling_aet, otherwise=lane)
    )
