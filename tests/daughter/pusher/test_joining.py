"""A pusher that is given nothing but a join line: it joins, pins, and delivers."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tackybox.config import JoinLine
from tackybox.demo.stack import LOOPBACK, Daemon, Mother, python
from tackybox.spool import Spool
from tests.mother.inbox.conftest import write_item
from tests.peers import require, wait_until
from tests.tackybox.commands.test_join import Site, tackybox


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    require("sshd", "openssh-server")
    require("rrsync", "rsync")
    made = Site(tmp_path)
    with made.stack:
        yield made


def start_pusher(site: Site, *lines: JoinLine, **more: object) -> Daemon:
    settings = {
        **site.settings, "min_free_mib": 1, "receipts_interval_s": 0.2, "backoff_cap_s": 1,
        "join": ";".join(line.text() for line in lines), **more,
    }  # fmt: skip
    return site.stack.start("pusher", python("daughter.pusher"), settings)


def accept(site: Site, number: int) -> str:
    """An accepted item, as a receiver leaves it."""
    new = Spool.open(Path(str(site.settings["spool"]))).root / "new" / "medium"
    return str(write_item(new, number, origin="north")["name"])


def arrived(site: Site, name: str) -> bool:
    return any(site.mother.spool.rglob(name)) and not any(
        site.mother.spool.glob(f"arriving/*/{name}")
    )


def test_one_variable_is_all_that_a_daughter_needs(site: Site) -> None:
    line = site.enrol()
    name = accept(site, 1)
    pusher = start_pusher(site, line)
    wait_until(lambda: arrived(site, name), "the image is at the mother")
    assert '"event": "joined"' in pusher.log.read_text()
    assert line.text().split()[-1] not in pusher.log.read_text()
    assert "mother not reached" not in pusher.log.read_text()
    assert site.known() != [None]


def test_a_used_line_is_not_used_again_at_the_next_start(site: Site) -> None:
    pusher = start_pusher(site, site.enrol())
    wait_until(lambda: "mother reached" in pusher.log.read_text(), "the road is open")
    before = pusher.log.read_text()
    pins = (site.keys / "known_hosts").read_text()
    pusher.signal(signal.SIGTERM)
    assert pusher.wait() == 0
    pusher.restart()
    wait_until(
        lambda: "mother reached" in pusher.log.read_text().removeprefix(before), "open again"
    )
    assert "joined" not in pusher.log.read_text().removeprefix(before)
    assert (site.keys / "known_hosts").read_text() == pins


def test_a_mother_that_is_down_is_joined_when_she_comes_and_others_do_not_wait(site: Site) -> None:
    line = site.enrol()
    second = start_second_mother(site)
    inbox = site.mother.inbox
    inbox.signal(signal.SIGTERM)
    assert inbox.wait() == 0
    name = accept(site, 1)
    destinations = f"{site.mother.destination};{second.destination}"
    pusher = start_pusher(site, line, destinations=destinations)
    wait_until(
        lambda: [p for p in second.spool.rglob(name) if {"new", "out"} & set(p.parts)],
        "the second mother has it",
    )
    assert '"not joined"' in pusher.log.read_text()
    inbox.restart()
    wait_until(lambda: arrived(site, name), "the first one, too, once she is there")
    assert '"joined"' in pusher.log.read_text()
    assert "child died" not in pusher.log.read_text()


def test_a_revoked_daughter_is_out_and_comes_back_with_a_new_line(site: Site) -> None:
    name = accept(site, 1)
    pusher = start_pusher(site, site.enrol())
    wait_until(lambda: arrived(site, name), "the first image is at the mother")
    revoked = tackybox(site.mother.inbox.settings, "daughters", "revoke", "north")
    assert revoked.returncode == 0, revoked.stderr
    later = accept(site, 2)
    wait_until(lambda: "does not know our key" in pusher.log.read_text(), "she says why")
    assert not arrived(site, later)
    pusher.signal(signal.SIGTERM)
    assert pusher.wait() == 0
    pusher.settings["join"] = site.enrol().text()
    pusher.start()
    wait_until(lambda: arrived(site, later), "the second image followed")


def start_second_mother(site: Site) -> Mother:
    """A mother who knows the daughter already, by a key that was pasted by hand."""
    daughters = site.stack.workdir / "second-daughters"
    daughters.mkdir()
    key = site.stack.key("north")
    shutil.copy(key, str(site.settings["ssh_key"]))
    shutil.copy(key.with_suffix(".pub"), daughters / "north.pub")
    mother = site.stack.start_mother("second", f"PACS@{LOOPBACK}:9", daughters=daughters)
    pins = (site.stack.workdir / "keys" / "known_hosts").read_text().splitlines(keepends=True)
    (site.keys / "known_hosts").write_text(pins[-1])  # only the second one's
    return mother
