"""A spool with real items in it, and the command line as a person calls it."""

import json
import os
import shlex
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom.uid import ExplicitVRLittleEndian

from mysql_utilities.events import Kind
from mysql_utilities.recorder import Recorder
from tackybox import __main__, service
from tackybox.item import part10_head
from tackybox.spool import Entry, Lane, Outlet, Spool

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
