"""What proves that every archive has an image, and each way in which it is not proved."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from daughter.pusher.evidence import Finding, judge
from mysql_utilities.deliveries import Step
from mysql_utilities.events import Kind
from tackybox.item import Item
from tackybox.spool import STORED_BY, Whereabouts

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
ONE, BOTH = frozenset({"m1"}), frozenset({"m1", "m2"})


def step(
    kind: Kind, destination: str = "", detail: str = "", digest: str = "aa", item: str = "i"
) -> Step:
    sop_class_uid = CT if kind in (Kind.RECEIVED, Kind.QUEUED) else ""
    return Step(kind, item, digest, destination, sop_class_uid, detail, f"{kind}{destination}")


def came(*destinations: str, digest: str = "aa") -> list[Step]:
    return [
        step(Kind.RECEIVED, digest=digest),
        *(step(Kind.QUEUED, one, digest=digest) for one in destinations),
    ]


def stored(destination: str, digest: str = "aa") -> Step:
    return step(Kind.RELEASED, destination, f"{STORED_BY}PACS", digest=digest)


def copy(digest: str = "aa", *, is_quarantined: bool = False) -> Whereabouts:
    return Whereabouts(Item(datetime.now(UTC), "north", digest, "1.2.3"), is_quarantined)


LANDED = step(Kind.RELEASED, "m1", "landed at the mother")
REFUSED = Step(Kind.REFUSED, "", "", "", MR, "no room", "r")

CASES = {
    "stored at its one mother's archives": (
        [*came("m1"), stored("m1")], [], ONE, Finding.COMMITTED,
    ),
    "stored at both": (
        [*came("m1", "m2"), stored("m2"), stored("m1")], [], BOTH, Finding.COMMITTED,
    ),
    "stored at one of two": ([*came("m1", "m2"), stored("m1")], [], BOTH, Finding.WAITING),
    "freed when it had landed": ([*came("m1"), LANDED], [], ONE, Finding.WAITING),
    "landed, then stored": ([*came("m1"), LANDED, stored("m1")], [], ONE, Finding.COMMITTED),
    "pushed": ([*came("m1"), step(Kind.PUSHED, "m1")], [copy()], ONE, Finding.WAITING),
    "received, and nothing more": (came(), [copy()], ONE, Finding.WAITING),
    "in the spool, of which the journal knows nothing": ([], [copy()], ONE, Finding.WAITING),
    "nobody knows it": ([], [], ONE, Finding.UNKNOWN),
    "refused": ([REFUSED], [], ONE, Finding.UNKNOWN),
    "refused once as another class, then stored": (
        [REFUSED, *came("m1"), stored("m1")], [], ONE, Finding.COMMITTED,
    ),
    "a mother that was added since": ([*came("m1"), stored("m1")], [], BOTH, Finding.WAITING),
    "a mother that was taken out before it was stored there": (
        [*came("m1", "m2"), stored("m1")], [], ONE, Finding.WAITING,
    ),
    "no mother at all": (came(), [], frozenset(), Finding.WAITING),
    "the steps between were lost": ([stored("m1")], [], ONE, Finding.COMMITTED),
    "other bytes, not stored": (
        [*came("m1"), stored("m1"), *came("m1", digest="bb")], [], ONE, Finding.WAITING,
    ),
    "other bytes, stored too": (
        [*came("m1"), stored("m1"), *came("m1", digest="bb"), stored("m1", "bb")], [], ONE,
        Finding.COMMITTED,
    ),
    "other bytes in the spool alone": (
        [*came("m1"), stored("m1")], [copy("bb")], ONE, Finding.WAITING,
    ),
    "the same bytes on their way again": (
        [*came("m1"), stored("m1"), *came("m1")], [copy()], ONE, Finding.COMMITTED,
    ),
    "the archive lost it, and it is sent again": (
        [*came("m1"), stored("m1"), step(Kind.REQUEUED, "m1")], [copy()], ONE, Finding.WAITING,
    ),
    "the archive lost it, and nobody has a copy": (
        [*came("m1"), stored("m1"), step(Kind.QUARANTINED, "m1")], [], ONE, Finding.QUARANTINED,
    ),
    "in quarantine here": (came("m1"), [copy(is_quarantined=True)], ONE, Finding.QUARANTINED),
    "in quarantine at the mother": (
        [*came("m1"), step(Kind.PUSHED, "m1"), step(Kind.QUARANTINED, "m1")], [copy()], ONE,
        Finding.QUARANTINED,
    ),
    "in quarantine at one mother, stored at the other": (
        [*came("m1", "m2"), step(Kind.QUARANTINED, "m1"), stored("m2")], [copy()], BOTH,
        Finding.QUARANTINED,
    ),
    "out of quarantine again": (
        [*came("m1"), step(Kind.QUARANTINED, "m1"), step(Kind.RETRIED, "m1")], [copy()], ONE,
        Finding.WAITING,
    ),
    "stored from quarantine": (
        [*came("m1"), step(Kind.QUARANTINED, "m1"), stored("m1")], [], ONE, Finding.COMMITTED,
    ),
    "other bytes in quarantine": (
        [*came("m1"), stored("m1")], [copy("bb", is_quarantined=True)], ONE, Finding.QUARANTINED,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_one_image(case: str) -> None:
    steps, copies, outlets, finding = CASES[case]
    assert judge(CT, steps, copies, outlets) is finding


def test_another_sop_class_is_a_conflict_only_where_the_class_is_known() -> None:
    assert judge(MR, [*came("m1"), stored("m1")], [], ONE) is Finding.CONFLICT
    assert judge(MR, [stored("m1")], [], ONE) is Finding.COMMITTED
    assert judge(MR, [], [copy()], ONE) is Finding.WAITING
