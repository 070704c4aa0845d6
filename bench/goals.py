"""What the numbers must show: the lines of the issue's table, each over figures of the rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from bench.rows import Goal, Key

_OURS = "Tackybox"
_IMAGES, _BYTES, _CPU = "images_per_s", "mb_per_s", "cpu_s_per_1000"


def _against(
    row: str,
    what: str,
    theirs: str,
    at_least: float | None = None,
    metric: str = _IMAGES,
    aim: str = "",
) -> Goal:
    ours = Key(row, _OURS, metric)
    return Goal(what, theirs, ours, Key(row, theirs, metric), at_least=at_least, aim=aim)


_ASKED = (
    *(
        _against("receive-ct-shipped", "durable receive, CT, all as shipped", theirs, 15.0)
        for theirs in ("DCMTK storescp", "Orthanc")
    ),
    *(
        _against("receive-ct", "durable receive, CT, 1 association", theirs, factor)
        for theirs, factor in (
            ("DCMTK storescp", 1.0),
            ("Orthanc", 4.0),
            ("pynetdicom storescp", 6.0),
        )
    ),
    _against(
        "receive-ct-4", "durable receive, CT, 4 associations", "DCMTK storescp --fork", 0.8,
        aim="aim 1.0×",
    ),
    _against(
        "receive-slow-1", "durable receive, CT, fsync takes 5 ms longer, 1 association",
        "simplest correct order", 1.8,
    ),
    _against(
        "receive-slow-16", "durable receive, CT, fsync takes 5 ms longer, 16 associations",
        "simplest correct order", 4.0,
    ),
    _against(
        "receive-mr", "durable receive, MR, 1 association", "DCMTK storescp", 0.8, aim="aim 1.0×"
    ),
    _against(
        "receive-multi-frame", "durable receive, multi-frame of 200 MB", "DCMTK storescp", 1.5,
        _BYTES,
    ),
    _against(
        "receive-multi-frame", "durable receive, multi-frame of 200 MB", "DCMTK storescp +B", 0.8,
        _BYTES,
    ),
    Goal(
        "receive CPU per 1,000 CT", "pynetdicom storescp",
        Key("receive-ct", _OURS, _CPU),
        Key("receive-ct", "pynetdicom storescp", _CPU),
        at_most=0.25,
    ),
    Goal(
        "peak memory receiving multi-frames of 200 MB, MB, all processes", "its own with CT",
        Key("receive-multi-frame", _OURS, "peak_sum_mb"), Key("receive-ct", _OURS, "peak_sum_mb"),
        plus=10.0,
    ),
    _against("forward-1", "forward to DCMTK storescp, CT, 1 association", "dcmsend", 1.0),
    _against("forward-4", "forward to DCMTK storescp, CT, 4 associations", "4 × dcmsend", 1.0),
    Goal(
        "1,000-slice CT over 100 Mbit/s, 50 ms: time", "its bytes on the wire ÷ the link's rate",
        Key("journey-link", _OURS, "over_wire"), None, at_most=1.15,
    ),
    _against("journey-link", "the same journey", "storescu over the link", 3.0),
    Goal(
        "one image on an idle relay, p99, ms", "", Key("journey-idle", _OURS, "p99_ms"), None,
        at_most=100.0,
    ),
    Goal(
        "a high-lane image overtakes on a saturated link, most, ms", "",
        Key("journey-overtake", _OURS, "most_ms"), None, at_most=1000.0, always=True,
    ),
    Goal(
        "journey's throughput, MySQL frozen", "MySQL running",
        Key("journey-mysql", "MySQL frozen", _IMAGES),
        Key("journey-mysql", "MySQL running", _IMAGES), at_least=1.0,
    ),
    *(
        Goal(
            f"resident memory of the {daemon}, all processes, 1,000,000 waiting", "1,000 waiting",
            Key("backlog", f"{daemon}, 1,000,000", "most_sum_mb"),
            Key("backlog", f"{daemon}, 1,000", "most_sum_mb"), at_most=1.2,
        )
        for daemon in ("receiver", "pusher", "inbox", "forwarder")
    ),
    *(
        Goal(
            f"start of the {daemon} to its first item, 1,000,000 waiting, s", "",
            Key("backlog", f"{daemon}, 1,000,000", "start_s"), None, at_most=30.0,
        )
        for daemon in ("pusher", "forwarder")
    ),
    *(
        Goal(
            f"rate of delivery by the {daemon}, tiny items, 1,000,000 waiting", "25,000 waiting",
            Key("backlog", f"{daemon}, 1,000,000", "items_per_s"),
            Key("backlog", f"{daemon}, 25,000", "items_per_s"), at_least=0.9,
        )
        for daemon in ("pusher", "forwarder")
    ),
)  # fmt: skip

# DCMTK when it does what we do: fsync and a digest where it receives, a digest where it sends.
_PROMISING = {
    "receive-ct": "DCMTK storescp +B, with our promise",
    "receive-ct-4": "DCMTK storescp --fork +B, with our promise",
    "receive-mr": "DCMTK storescp +B, with our promise",
    "receive-multi-frame": "DCMTK storescp +B, with our promise",
    "forward-1": "dcmsend, verifying",
    "forward-4": "4 × dcmsend, verifying",
}


def _like_for_like() -> Iterator[Goal]:
    for row, peer in _PROMISING.items():
        metric = _BYTES if row == "receive-multi-frame" else _IMAGES
        yield _against(row, f"{row}, both with our promise", peer, metric=metric)
    ours = Key("receive-ct", _OURS, _CPU)
    peer = replace(ours, contestant=_PROMISING[ours.row])
    yield Goal("receive-ct, CPU, both with our promise", peer.contestant, ours, peer)


def _limits() -> Iterator[Goal]:
    for goal in _ASKED:
        peer = _PROMISING.get(goal.ours.row)
        if peer and goal.theirs and goal.theirs.row == goal.ours.row:
            yield replace(goal, ours=replace(goal.ours, contestant=peer))


GOALS = (*_ASKED, *_like_for_like())
LIMITS = tuple(_limits())
"""What is asked of us, for DCMTK with our promise instead: whether it is to be had at all."""
