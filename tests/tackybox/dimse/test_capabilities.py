"""What an archive accepts, asked of real ones that accept all, some, or nothing in time."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable

from tackybox.dimse.association import Timeouts
from tackybox.dimse.capabilities import COMMON, COMPRESSED, explore
from tackybox.dimse.scu import FALLBACKS
from tests.peers import Peer, freeze, orthanc, storescp

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
QUICK = Timeouts(connect_s=5, answer_s=10)


def test_an_archive_that_takes_everything(archive: Peer, address_of: Callable) -> None:
    found = explore(address_of(archive), calling_aet="TEST", timeouts=QUICK)
    assert found.problem == ""
    assert found.accepted == found.proposed
    assert len(found.classes) > 170
    assert set(COMMON) <= found.classes
    assert found.syntaxes(CT) == {*FALLBACKS, *COMPRESSED}


def test_one_that_refuses_a_class_and_every_compression(scripted, address_of: Callable) -> None:
    only = [word for one in FALLBACKS for word in ("--only-transfer-syntax", one)]
    with scripted("--refuse-class", MR, *only) as peer:
        found = explore(address_of(peer), calling_aet="TEST", timeouts=QUICK)
        lines = (peer.directory / "log.jsonl").read_text().splitlines()
    asked = [json.loads(line) for line in lines]
    assert found.problem == ""
    assert found.proposed_classes - found.classes == {MR}
    assert found.syntaxes() == set(FALLBACKS)
    sizes = [len(one["contexts"]) for one in asked]
    assert max(sizes) <= 128
    assert all(len(syntaxes) == 1 for one in asked for _, syntaxes in one["contexts"])
    assert sum(sizes) == len(found.proposed)


def test_dcmtk_and_orthanc(tmp_path, address_of: Callable) -> None:
    with storescp(tmp_path / "storescp") as dcmtk, orthanc(tmp_path / "orthanc") as pacs:
        for peer in (dcmtk, pacs):
            found = explore(address_of(peer), calling_aet="TEST", timeouts=QUICK)
            assert (found.problem, len(found.classes) > 100) == ("", True)
            assert {*FALLBACKS, "1.2.840.10008.1.2.4.90"} <= found.syntaxes(CT)


def test_one_that_freezes_and_one_that_is_not_asked_to_the_end(
    archive: Peer, address_of: Callable
) -> None:
    found = explore(address_of(archive), calling_aet="TEST", timeouts=QUICK, limit_s=0)
    assert (found.problem, found.proposed) == ("not done after 0 s", set())
    freeze(archive.process.pid)
    try:
        quick = Timeouts(connect_s=1, answer_s=1)
        found = explore(address_of(archive), calling_aet="TEST", timeouts=quick)
    finally:
        archive.process.send_signal(signal.SIGCONT)
    assert "did not answer in time" in found.problem
    assert found.classes == set()
