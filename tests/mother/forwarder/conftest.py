"""A mother's forwarder as a process, with a spool that items are put into as the gate does."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mysql_utilities.events import Event
from mysql_utilities.sqlite_store import SqliteStore
from tackybox.demo.stack import Stack, free_port, python
from tackybox.dimse.files import read_source
from tackybox.item import part10_head
from tackybox.spool import Entry, Lane, Receipt, ReceiptLog, Spool
from tests.peers import Peer, running, wait_until

SCRIPTED = Path(__file__).parents[2] / "scripted_archive.py"


class Forwarder:
    """The forwarder under `workdir`; items come from a daughter named north."""

    def __init__(self, stack: Stack, workdir: Path) -> None:
        self.stack = stack
        self.spool = Spool.open(workdir / "spool")
        self.settings: dict[str, object] = {
            "name": "main", "aet": "MOTHER", "spool": self.spool.root, "backoff_cap_s": 2,
            "rescan_interval_s": 0.5, "dimse_timeout_s": 3, "connect_timeout_s": 2,
            "echo_interval_s": 1,
        }  # fmt: skip

    def start(self, archives: str, **settings: object) -> None:
        self.daemon = self.stack.start(
            "forwarder", python("mother.forwarder"),
            self.settings | {"archives": archives} | settings,
        )  # fmt: skip

    def put(self, paths: Iterable[Path], lane: Lane = Lane.MEDIUM) -> list[Entry]:
        """Make items of DICOM files, durable in `new/`."""
        entries = []
        with self.spool.workspace("test") as workspace:
            for path in paths:
                source = read_source(path)
                head = part10_head(
                    sop_class_uid=source.sop_class_uid,
                    sop_instance_uid=source.sop_instance_uid,
                    transfer_syntax_uid=source.transfer_syntax_uid,
                    calling_aet="MODALITY", called_aet="NORTH",
                )  # fmt: skip
                syntax = source.transfer_syntax_uid
                with self.spool.draft(workspace, "north", syntax) as draft:
                    draft.write_head(head)
                    draft.write_dataset(path.read_bytes()[source.dataset_offset :])
                    entries.append(draft.accept(lane, source.sop_instance_uid))
        return entries

    def events(self, *kinds: str) -> list[Event]:
        """What the embedded journal holds, of these kinds."""
        path = self.spool.journal / "events.sqlite"
        if not path.exists():
            return []
        with SqliteStore(path) as store:
            found = [event for _, event in store.read_after(0, 1_000_000)]
        return [event for event in found if not kinds or event.kind in kinds]

    def receipts(self) -> list[Receipt]:
        """What the daughter would be told."""
        return [receipt for _, receipt in ReceiptLog(self.spool.root, "north").read_after(0)]

    def items(self) -> list[Path]:
        """Every item still in the spool."""
        return [p for p in self.spool.root.rglob("*_north_*") if p.is_file()]

    def quarantined(self) -> dict[str, str]:
        """SOP Instance UID to reason."""
        return {q.entry.item.sop_instance_uid: q.reason for q in self.spool.quarantined()}

    def wait_empty(self, timeout_s: float = 60.0) -> None:
        """Wait until nothing but quarantine is left."""
        wait_until(
            lambda: len(self.items()) == len(list(self.spool.quarantined())),
            f"the spool is empty; {[str(p) for p in self.items()][:3]}",
            timeout_s,
        )

    def wait_events(self, kind: str, count: int, timeout_s: float = 60.0) -> list[Event]:
        """Wait until the journal has so many of `kind`."""
        wait_until(lambda: len(self.events(kind)) >= count, f"{count} {kind}", timeout_s)
        return self.events(kind)


@pytest.fixture
def forwarder(tmp_path: Path) -> Iterator[Forwarder]:
    """A forwarder that is not started yet."""
    with Stack(tmp_path / "stack") as stack:
        yield Forwarder(stack, tmp_path)


class Script:
    """What a scripted archive was asked."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer

    @property
    def address(self) -> str:
        return self.peer.address

    def asked(self, kind: str) -> list[dict[str, Any]]:
        lines = (self.peer.directory / "log.jsonl").read_text().splitlines()
        return [entry for entry in map(json.loads, lines) if entry["kind"] == kind]

    def kept(self) -> list[Path]:
        return sorted((self.peer.directory / "kept").glob("*.dcm"))


Scripted = Callable[..., contextlib.AbstractContextManager[Script]]


@pytest.fixture
def scripted(tmp_path: Path) -> Scripted:
    """Starts an archive that behaves as its arguments say."""

    @contextlib.contextmanager
    def start(*options: str, port: int | None = None) -> Iterator[Script]:
        port = port or free_port()
        directory = tmp_path / f"archive-{port}"
        directory.mkdir(exist_ok=True)
        command = [sys.executable, "-P", str(SCRIPTED), "--port", str(port)]
        command += ["--dir", str(directory / "kept"), "--log", str(directory / "log.jsonl")]
        with running([*command, *options], "SCRIPTED", port, directory) as peer:
            yield Script(peer)

    return start
