"""Rows: receiving. A sender that is not ours, a receiver, and what it costs the receiver."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.contestants import (
    NODELAY,
    ORTHANC,
    OURS,
    PYNETDICOM,
    SIMPLE,
    SIMPLE_PARALLEL,
    STORESCP,
    STORESCP_B,
    STORESCP_FORK,
    STORESCP_FORK_B,
    STORESCP_FORK_PROMISING,
    STORESCP_PROMISING,
    Contestant,
    started,
)
from bench.corpora import CR, CT, MR, MULTI_FRAME, Image
from bench.preload import preload
from bench.rows import Bench, Figures, Row
from bench.senders import DCMSEND, RAW, STORESCU, STORESCU_SHIPPED, Sender, overhead_s, send

_MB = 1e6
_SLOW_FSYNC = "slow_fsync.c"


@dataclass(frozen=True)
class Receive:
    """One way to send: what is the same for all contestants of a row."""

    sender: Sender
    images: Callable[[Bench], Sequence[Image]]
    associations: int = 1
    nodelay: bool = True
    slow_disk: bool = False
    in_bytes: bool = False

    def environment(self, bench: Bench, contestant: Contestant) -> dict[str, str]:
        """The receiver's, beside the usual one."""
        environment = dict(NODELAY) if self.nodelay else {}
        source = _SLOW_FSYNC if self.slow_disk else contestant.preloaded
        return environment | preload(bench, source)

    def told(self) -> str:
        """What is sent by whom, and what is timed."""
        timed = "from the first C-STORE's first byte to the last answer"
        if self.sender.program != "raw":
            timed = (
                "from the start of the sender's processes to their end, less what the same "
                "command takes when nothing listens"
            )
        receivers = "with TCP_NODELAY" if self.nodelay else "as shipped"
        return (
            f"sender: {self.sender.name}; receivers {receivers}; "
            f"associations: {self.associations}; {timed}"
        )

    def measure(self, bench: Bench, contestant: Contestant) -> Figures:
        """Send everything once to a fresh `contestant`, and see that it holds it."""
        images = self.images(bench)
        extra_s = overhead_s(self.sender, images, self.associations)
        os.sync()  # what was written before costs the next one nothing
        with started(contestant, bench.scratch, **self.environment(bench, contestant)) as run:
            before = run.usage()
            spent_s = send(self.sender, run.aet, run.port, images, self.associations) - extra_s
            after = run.usage()
            contestant.check(run, images)
        size_mb = sum(image.size_bytes for image in images) / _MB
        rates = {"images_per_s": len(images) / spent_s, "mb_per_s": size_mb / spent_s}
        return {
            **dict(sorted(rates.items(), reverse=self.in_bytes)),
            "cpu_s_per_1000": 1000 * (after.cpu_s - before.cpu_s) / len(images),
            "peak_mb": after.peak_largest_bytes / _MB,
            "peak_sum_mb": after.peak_sum_bytes / _MB,
        }


def _row(name: str, title: str, way: Receive, *contestants: Contestant) -> Row:
    by_name = {contestant.name: contestant for contestant in contestants}
    return Row(
        name,
        title,
        way.told(),
        tuple(by_name),
        lambda bench, contestant: way.measure(bench, by_name[contestant]),
    )


def _ct(full: int) -> Callable[[Bench], Sequence[Image]]:
    return lambda bench: bench.corpora.of(CT, bench.count(full, 16))


_ALL = (OURS, STORESCP, STORESCP_B, STORESCP_PROMISING, ORTHANC, PYNETDICOM)
_SLOW = (OURS, SIMPLE, SIMPLE_PARALLEL)
ROWS = (
    _row(
        "receive-ct-shipped",
        "CT, 100 of 525 KB, sender and receivers as shipped",
        Receive(STORESCU_SHIPPED, _ct(100), nodelay=False),
        OURS, STORESCP, ORTHANC,
    ),
    _row(
        "receive-ct-sender-shipped",
        "CT, 100 of 525 KB, sender as shipped, receivers with TCP_NODELAY",
        Receive(STORESCU_SHIPPED, _ct(100)),
        OURS, STORESCP,
    ),
    _row("receive-ct", "CT, 1,000 of 525 KB", Receive(STORESCU, _ct(1000)), *_ALL),
    _row(
        "receive-ct-dcmsend", "CT, 1,000 of 525 KB, another sender",
        Receive(DCMSEND, _ct(1000)), OURS, STORESCP, STORESCP_B,
    ),
    _row(
        "receive-ct-raw", "CT, 1,000 of 525 KB, a sender that is no bottleneck",
        Receive(RAW, _ct(1000)), OURS, STORESCP, STORESCP_B,
    ),
    _row(
        "receive-ct-4", "CT, 1,000 of 525 KB, 4 associations",
        Receive(STORESCU, _ct(1000), 4),
        OURS, STORESCP_FORK, STORESCP_FORK_B, STORESCP_FORK_PROMISING,
    ),
    _row(
        "receive-ct-4-raw", "CT, 1,000 of 525 KB, 4 associations, senders that are no bottleneck",
        Receive(RAW, _ct(1000), 4), OURS, STORESCP_FORK, STORESCP_FORK_B,
    ),
    _row(
        "receive-slow-1", "CT, 200 of 525 KB, each fsync takes 5 ms longer",
        Receive(STORESCU, _ct(200), slow_disk=True), *_SLOW,
    ),
    _row(
        "receive-slow-16", "CT, 400 of 525 KB, 16 associations, each fsync takes 5 ms longer",
        Receive(STORESCU, _ct(400), 16, slow_disk=True), *_SLOW,
    ),
    _row(
        "receive-mr", "MR, 2,000 of 131 KB",
        Receive(STORESCU, lambda bench: bench.corpora.of(MR, bench.count(2000))),
        OURS, STORESCP, STORESCP_B, STORESCP_PROMISING,
    ),
    _row(
        "receive-cr", "CR, 20 of 20 MB",
        Receive(STORESCU, lambda bench: bench.corpora.of(CR, bench.count(20, 2)), in_bytes=True),
        OURS, STORESCP, STORESCP_B,
    ),
    _row(
        "receive-multi-frame", "multi-frame, 3 of 200 MB",
        Receive(RAW, lambda bench: bench.corpora.of(MULTI_FRAME, bench.count(3, 1)), in_bytes=True),
        OURS, STORESCP, STORESCP_B, STORESCP_PROMISING, ORTHANC,
    ),
    _row(
        "receive-mix", "a mix: CT, MR and CR as 11 : 8 : 1, 200 images",
        Receive(STORESCU, lambda bench: bench.corpora.mix(bench.count(200, 20)), in_bytes=True),
        OURS, STORESCP, STORESCP_B,
    ),
)  # fmt: skip
