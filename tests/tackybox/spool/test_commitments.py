"""Storage commitment requests on disk: kept once, bounded, and nothing else is taken for one."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tackybox.errors import DataError
from tackybox.spool import CommitmentRequest, CommitmentRequests, TooManyRequestsError, commitments

REQUEST = CommitmentRequest(
    "1.2.3", "CT1", "RELAY", "10.1.2.3", datetime(2026, 11, 21, tzinfo=UTC), (("1.2", "1.2.4"),)
)


@pytest.fixture
def requests(tmp_path: Path) -> CommitmentRequests:
    return CommitmentRequests(tmp_path)


def test_what_is_kept_is_read_and_goes_when_done(requests: CommitmentRequests) -> None:
    assert requests.names() == []
    assert requests.tally() == (0, None)
    requests.keep(REQUEST)
    (name,) = requests.names()
    assert requests.read(name) == REQUEST
    count, oldest_at = requests.tally()
    assert count == 1 and oldest_at is not None
    requests.done(name)
    assert requests.names() == []
    with pytest.raises(FileNotFoundError):
        requests.read(name)


def test_the_same_request_is_kept_once_and_keeps_its_time(requests: CommitmentRequests) -> None:
    requests.keep(REQUEST)
    requests.keep(replace(REQUEST, arrived_at=datetime(2026, 11, 22, tzinfo=UTC)))
    (name,) = requests.names()
    assert requests.read(name) == REQUEST


def test_another_one_with_the_same_transaction_is_a_duplicate(requests: CommitmentRequests) -> None:
    requests.keep(REQUEST)
    others = [
        replace(REQUEST, references=(("1.2", "1.2.5"),)),
        replace(REQUEST, calling_aet="CT2"),
        replace(REQUEST, transaction_uid="1.2.9"),
    ]
    for other in others:
        requests.keep(other)
    found = {name: requests.read(name).is_duplicate for name in requests.names()}
    assert found == {
        REQUEST.name: False, others[0].name: True, others[1].name: False, others[2].name: False,
    }  # fmt: skip


def test_no_more_are_kept_than_may_be_open(
    requests: CommitmentRequests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commitments, "MOST_OPEN", 2)
    for number in range(2):
        requests.keep(replace(REQUEST, transaction_uid=f"1.2.{number}"))
    with pytest.raises(TooManyRequestsError):
        requests.keep(replace(REQUEST, transaction_uid="1.2.2"))
    requests.keep(replace(REQUEST, transaction_uid="1.2.1"))  # it is kept already
    assert len(requests.names()) == 2


def test_leftovers_of_killed_writers_are_swept_and_never_read(requests: CommitmentRequests) -> None:
    requests.keep(REQUEST)
    old, fresh = requests.directory / ".a.json.1", requests.directory / ".b.json.2"
    for path in (old, fresh):
        path.write_bytes(b"{")
    os.utime(old, (0, 0))
    assert requests.names() == [REQUEST.name]
    requests.sweep()
    assert not old.exists() and fresh.exists()
    assert requests.names() == [REQUEST.name]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b"\xff",
        REQUEST.to_json()[:-5],
        REQUEST.to_json().replace(b"1.2.4", b"../..."),
        REQUEST.to_json().replace(b'"1.2.3"', b'""'),
        REQUEST.to_json().replace(b"2026-11-21", b"yesterday!"),
        REQUEST.to_json().replace(b'[["1.2","1.2.4"]]', b"[]"),
        b"[" * 100_000,
    ],
)
def test_a_file_that_is_no_request_is_a_data_error(data: bytes) -> None:
    with pytest.raises(DataError):
        CommitmentRequest.from_json(data)


@given(st.binary(max_size=300))
def test_whatever_a_file_holds_it_is_read_or_refused(data: bytes) -> None:
    with pytest.raises(DataError):
        CommitmentRequest.from_json(data)
