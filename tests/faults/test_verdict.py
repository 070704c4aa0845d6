"""The harness itself: a relay without a fault is in order, and each kind of loss is seen."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.relay import Relay
from tests.peers import wait_until


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    with Relay(tmp_path_factory.mktemp("relay")) as relay:
        relay.send(relay.images(5))
        relay.wait_quiet()
        yield relay


def test_a_relay_without_a_fault_keeps_its_promise(relay: Relay) -> None:
    verdict = relay.verdict()
    assert verdict.holds, str(verdict)
    assert verdict.answered == 5
    assert not (verdict.duplicated or verdict.stored_again)


def test_an_image_that_the_archive_has_no_more_is_lost_and_contradicts_the_journal(
    relay: Relay,
) -> None:
    path = next(relay.archives[0].directory.glob("*.dcm"))
    content = path.read_bytes()
    path.unlink()
    verdict = relay.verdict(patience_s=0)
    assert len(verdict.lost) == 1
    assert any("STORED, not in" in line for line in verdict.journal)
    path.write_bytes(content[:-1] + b"\1")
    verdict = relay.verdict(patience_s=0)
    assert (len(verdict.lost), len(verdict.altered)) == (1, 1)
    path.write_bytes(content)
    assert relay.verdict().holds


def test_what_waits_anywhere_is_kept_and_is_not_quiet(relay: Relay) -> None:
    relay.kill(relay.mother.forwarder)
    relay.send(relay.images(3))
    wait_until(lambda: len(list(relay.mother.spool.glob("new/*/*"))) == 3, "she has them")
    verdict = relay.verdict()
    assert not verdict.lost, str(verdict)
    assert verdict.answered == 8
    assert any("mother/new" in place for place in relay.in_flight())
    assert relay.heal() == ["mother-forwarder"]
    relay.wait_quiet()
    assert relay.verdict().holds
