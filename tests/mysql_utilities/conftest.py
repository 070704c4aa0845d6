"""Real database servers for the journal's tests, and journeys to record."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from mysql_utilities.events import Event, Kind
from tests.databases import Server, database_server


@pytest.fixture(scope="session", params=["mariadb", "mysql"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    with database_server(request.param, tmp_path_factory.mktemp(request.param)) as running:
        yield running


@pytest.fixture
def journey() -> Callable[[int], list[Event]]:
    """Events of `count` images from a site to an archive; image 1 waits, image 2 is quarantined."""
    return make_journey


def make_journey(
    count: int, study: str = "1.2.840.1", start: datetime | None = None
) -> list[Event]:
    began = start or datetime(2026, 3, 29, 0, 59, 59, 999999, UTC)  # the night the clocks change
    return [
        event
        for number in range(count)
        for event in _image(number, study, began + timedelta(seconds=number))
    ]


def _image(number: int, study: str, began: datetime) -> list[Event]:
    uid = f"{study}.{number}"
    item = f"{began:%Y%m%dT%H%M%S.%fZ}_north_{number:016x}"
    header = {
        "sop_instance_uid": uid, "series_instance_uid": f"{study}.9", "study_instance_uid": study,
        "accession_number": f"ACC{study}", "patient_id": "PÄT 🩻", "modality": "CT",
    }  # fmt: skip

    def step(kind: Kind, box: str, after_s: float, **fields: object) -> Event:
        at = began + timedelta(seconds=after_s)
        return Event(kind=kind, box=box, item=item, at=at, **fields)  # type: ignore[arg-type]

    steps = [
        step(Kind.RECEIVED, "north", 0, calling_aet="CT1", sop_instance_uid=uid, size_bytes=1000),
        step(Kind.QUEUED, "north", 1, destination="mother", lane="low", size_bytes=1000, **header),
        step(Kind.LANDED, "mother", 2, peer_address="north", size_bytes=1000),
        step(Kind.PUSHED, "north", 2.5, destination="mother", duration_s=0.123456),
        step(Kind.QUEUED, "mother", 3, destination="PACS", lane="low", size_bytes=1000, **header),
    ]
    if number == 1:
        why = "archive is full; trying later"
        return [*steps, step(Kind.DEFERRED, "mother", 4, destination="PACS", status_code=0xA700,
                             detail=why)]  # fmt: skip
    if number == 2:
        return [*steps, step(Kind.QUARANTINED, "mother", 4, destination="PACS", status_code=0xA900,
                             detail="status-a900: does not match")]  # fmt: skip
    return [
        *steps,
        step(Kind.FORWARDING, "mother", 4, destination="PACS"),
        step(Kind.STORED, "mother", 5, destination="PACS", status_code=0, duration_s=0.5),
        step(Kind.RELEASED, "north", 6, destination="mother"),
    ]
