"""A spool with real items in it, and the command line as a person calls it."""

import contextlib
import json
import os
import shlex
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import ExplicitVRLittleEndian

from mysql_utilities.events import Kind
from mysql_utilities.mysql_store import MysqlAddress, MysqlStore
from mysql_utilities.recorder import Recorder
from mysql_utilities.shipper import Shipper
from tackybox import __main__, service
from tackybox.demo.phantom import write_ct_study
from tackybox.demo.stack import LOOPBACK, Daemon, Daughter, Mother, Stack
from tackybox.dimse.files import read_source
from tackybox.item import part10_head
from tackybox.spool import Entry, Lane, Outlet, Spool
from tests.databases import database_server
from tests.peers import Peer, orthanc, require, wait_until

CT = "1.2.840.10008.5.1.4.1.1.2"


def element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    """One element in Explicit VR Little Endian, PS3.5 section 7.1.2."""
    value += b" " * (len(value) % 2)
    tag = group.to_bytes(2, "little") + number.to_bytes(2, "little")
    return tag + vr + len(value).to_bytes(2, "little") + value


class Filled:
    """A spool with helpers that put real items into it, as the daemons do."""

    def __init__(self, root: Path) -> None:
        self.spool = Spool.open(root)
        self.root = root

    def accept(self, number: int, lane: Lane = Lane.MEDIUM) -> Entry:
        """Item `number`, accepted as the receiver does."""
        uid = f"1.2.3.{number}"
        dataset = element(0x0008, 0x0060, b"CS", b"CT")
        dataset += element(0x0010, 0x0010, b"PN", b"DOE^JANE")
        dataset += element(0x0020, 0x000D, b"UI", f"1.2.9.{number}".encode())
        with (
            self.spool.workspace("test") as workspace,
            self.spool.draft(workspace, "north", ExplicitVRLittleEndian) as draft,
        ):
            draft.write_head(
                part10_head(
                    sop_class_uid=CT,
                    sop_instance_uid=uid,
                    transfer_syntax_uid=ExplicitVRLittleEndian,
                    calling_aet="CT1",
                    called_aet="NORTH",
                )
            )
            draft.write_dataset(dataset)
            return draft.accept(lane, uid)

    def hand_out(self, entry: Entry, *outlets: str) -> None:
        """Fan `entry` out."""
        list(self.spool.fan_out([entry], [Outlet(self.root, name) for name in outlets]))

    def claim(self, outlet: str, count: int = 1) -> tuple[Outlet, list[Entry]]:
        """Take `count` entries in hand."""
        worked = Outlet(self.root, outlet)
        return worked, worked.claim(count)

    def record(self, kind: Kind, **fields: object) -> None:
        """Note one event in the embedded journal."""
        with Recorder(self.spool.journal, "north") as recorder:
            recorder.record(kind, **fields)
            assert recorder.flush(30)


@pytest.fixture
def box(tmp_path: Path) -> Filled:
    """An empty spool to fill."""
    return Filled(tmp_path / "spool")


@dataclass(frozen=True)
class Result:
    """What a verb did."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        """Its output as JSON."""
        return json.loads(self.out)


@pytest.fixture
def tackybox(capsys, monkeypatch):
    """Calls the command line, e.g. `tackybox("status --json", TACKYBOX_NAME="x")`."""

    def call(line: str, **environment: str) -> Result:
        with monkeypatch.context() as patch:
            for name in [name for name in os.environ if name.startswith("TACKYBOX_")]:
                patch.delenv(name)
            for name, value in environment.items():
                patch.setenv(name, value)
            capsys.readouterr()
            try:
                code = service.main(lambda: __main__.run(shlex.split(line)))
            except SystemExit as end:  # argparse
                code = int(end.code or 0)
            return Result(code, *capsys.readouterr())

    return call


@dataclass(frozen=True)
class Relay:
    """A daughter that keeps copies, a mother, an Orthanc, and the study that went through."""

    daughter: Daughter
    mother: Mother
    peer: Peer
    study: str
    uids: list[str]

    def rest(self, path: str, method: str = "GET", body: bytes | None = None) -> Any:
        """What Orthanc's REST interface answers."""
        port = (self.peer.directory / "http_port").read_text()
        request = urllib.request.Request(f"http://{LOOPBACK}:{port}{path}", body, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def has(self, uid: str) -> bool:
        """Whether the archive has this image."""
        return bool(self.rest("/tools/lookup", "POST", uid.encode()))

    def lose(self, uid: str) -> None:
        """Have the archive lose this image."""
        (found,) = self.rest("/tools/lookup", "POST", uid.encode())
        self.rest(f"/instances/{found['ID']}", "DELETE")

    @property
    def on_mother(self) -> dict[str, str]:
        """The mother's settings, as an environment."""
        return _environment(self.mother.forwarder)

    @property
    def on_daughter(self) -> dict[str, str]:
        """The daughter's settings, as an environment."""
        return _environment(self.daughter.pusher)


def _environment(daemon: Daemon) -> dict[str, str]:
    return {f"TACKYBOX_{key.upper()}": str(value) for key, value in daemon.settings.items()}


@pytest.fixture(scope="session")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    require("sshd", "openssh-server")
    require("rrsync", "rsync")
    directory = tmp_path_factory.mktemp("relay")
    study, paths = write_ct_study(directory / "study", 3)
    with orthanc(directory / "orthanc") as peer, Stack(directory / "stack") as stack:
        stack.daughter_key("north")
        mother = stack.start_mother("main", peer.address, rescan_interval_s=0.5)
        daughter = stack.start_daughter(
            "north", mother.destination, keep_days=30, receipts_interval_s=0.1
        )
        uids = [read_source(path).sop_instance_uid for path in paths]
        yield Relay(daughter, mother, peer, study, uids)


@pytest.fixture
def delivered(relay: Relay, tackybox: Callable[..., Result]) -> Relay:
    """The relay, when all of the study is at the archive and released."""
    study = relay.daughter.spool.parent.parent / "study"
    if not relay.has(relay.uids[0]):
        peer = f"{relay.daughter.aet}@{LOOPBACK}:{relay.daughter.port}"
        assert tackybox(f"send {peer} {study}").code == 0
    wait_until(lambda: all(relay.has(uid) for uid in relay.uids), "the archive has the study")
    wait_until(
        lambda: not list((relay.daughter.spool / "out").rglob("*_*_*_*")), "the study is released"
    )
    return relay


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MysqlAddress]:
    with database_server("mariadb", tmp_path_factory.mktemp("mariadb")) as server:
        yield server.database()


@pytest.fixture
def shipped(delivered: Relay, database: MysqlAddress) -> Relay:
    """The relay, when the server has all that both boxes have recorded of the study."""

    def ship() -> bool:
        for box in (delivered.daughter, delivered.mother):
            with contextlib.closing(Shipper(box.spool / "journal", database)) as shipper:
                while shipper.ship_once():
                    pass
        with MysqlStore(database) as store:
            kinds = [event.kind for _, event in store.read_after(0, 1_000_000)]
        return min(map(kinds.count, (Kind.STORED, Kind.RELEASED))) >= len(delivered.uids)

    wait_until(ship, "the server has every image's last steps")
    return delivered
