"""The receiver as a process: real senders, hostile sockets, a full disk, SIGTERM."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pynetdicom import AE, build_context
from pynetdicom.dimse_primitives import C_STORE

from mysql_utilities.events import Kind
from mysql_utilities.sqlite_store import SqliteStore
from tackybox.demo.stack import LOOPBACK, Daemon, Stack, free_port, python
from tackybox.item import Item, digest_of, read_header
from tests.peers import require, wait_until, wheel_files

CT = "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT_LE, EXPLICIT_LE = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"


class Receiver:
    """A receiver alone, its spool and its port."""

    def __init__(self, workdir: Path, **settings: object) -> None:
        self.stack = Stack(workdir)
        self.spool = workdir / "north"
        self.port = free_port()
        base = {
            "name": "north", "aet": "RELAY", "spool": self.spool, "port": self.port,
            "bind": LOOPBACK, "destinations": "relay@127.0.0.1:2222", "modalities": "any",
            "min_free_mib": 1, "network_timeout_s": 5, "dimse_timeout_s": 5,
        }  # fmt: skip
        self.daemon: Daemon = self.stack.start(
            "receiver", python("daughter.receiver"), base | settings, self.port
        )

    def files(self) -> list[Path]:
        return sorted(self.spool.glob("new/*/*"))

    def events(self) -> list[tuple[str, int | None, str]]:
        with SqliteStore(self.spool / "journal" / "events.sqlite") as store:
            return [(e.kind, e.status_code, e.detail) for _, e in store.read_after(0, 1000)]


@contextlib.contextmanager
def receiving(workdir: Path, **settings: object) -> Iterator[Receiver]:
    receiver = Receiver(workdir, **settings)
    with receiver.stack:
        yield receiver


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    with receiving(tmp_path) as running:
        yield running


def ct_file() -> Path:
    return next(path for path in wheel_files() if path.name == "CT_small.dcm")


def storescu(receiver: Receiver, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [require("storescu", "dcmtk"), "-aec", "RELAY", LOOPBACK, str(receiver.port), *arguments],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def raw_store(
    receiver: Receiver,
    sop_class: str,
    sop_instance: str,
    data: bytes,
    context: tuple[str, str] = (CT, EXPLICIT_LE),
) -> int:
    """C-STORE exactly these bytes under exactly this command; the status."""
    ae = AE("RAW")
    assoc = ae.associate(
        LOOPBACK, receiver.port, contexts=[build_context(*context)], ae_title="RELAY"
    )
    assert assoc.is_established
    request = C_STORE()
    request.MessageID = 1
    request.Priority = 1
    request.AffectedSOPClassUID = sop_class
    request.AffectedSOPInstanceUID = sop_instance
    request.DataSet = BytesIO(data)
    assoc._reactor_checkpoint.clear()
    while not assoc._is_paused:
        time.sleep(0.001)
    assoc.dimse.send_msg(request, 1)
    _, response = assoc.dimse.get_msg(block=True)
    assoc._reactor_checkpoint.set()
    assoc.release()
    assert response is not None, "no answer"
    return int(response.Status)


def dataset_of(path: Path) -> tuple[str, bytes]:
    header = read_header(path)
    return header.transfer_syntax_uid, path.read_bytes()[header.dataset_offset :]


def test_the_bytes_on_the_wire_are_the_bytes_in_the_spool(receiver: Receiver) -> None:
    syntax, data = dataset_of_wheel_file()
    uid = pydicom.dcmread(ct_file()).SOPInstanceUID
    assert raw_store(receiver, CT, uid, data) == 0
    (path,) = receiver.files()
    assert dataset_of(path) == (syntax, data)


def test_what_storescu_sends_is_an_item_that_describes_itself(receiver: Receiver) -> None:
    assert storescu(receiver, str(ct_file())).returncode == 0
    (path,) = receiver.files()
    item = Item.parse(path.name)
    assert digest_of(path) == item.digest
    original = pydicom.dcmread(ct_file())
    assert item.sop_instance_uid == original.SOPInstanceUID
    header = read_header(path)
    assert (header.calling_aet, header.called_aet) == ("STORESCU", "RELAY")
    assert header.patient_id == original.PatientID
    wait_until(lambda: (Kind.RECEIVED, 0, "") in receiver.events(), "the journal has it")


def test_echo_and_a_private_sop_class_in_a_private_syntax(receiver: Receiver) -> None:
    ae = AE("PRIVATE")
    contexts = [
        build_context("1.2.840.10008.1.1"),
        build_context("1.3.6.1.4.1.99999.1", "1.3.6.1.4.1.99999.2"),
        build_context("1.2.840.10008.5.1.4.1.1.999999", EXPLICIT_LE),
    ]
    assoc = ae.associate(LOOPBACK, receiver.port, contexts=contexts, ae_title="RELAY")
    assert assoc.is_established
    assert assoc.send_c_echo().Status == 0
    assert len(assoc.accepted_contexts) == 3
    assoc.release()


@pytest.mark.parametrize(
    "context",
    [
        ("1.3.6.1.4.1.99999.1", "1.3.6.1.4.1.99999.2"),  # private class, private syntax
        ("1.2.840.10008.5.1.4.1.1.999999", EXPLICIT_LE),  # a class of a later standard
        ("1.2.840.10008.5.1.4.39.1", IMPLICIT_LE),  # no patient's: a colour palette
    ],
)
def test_whatever_is_offered_as_storage_is_stored(
    receiver: Receiver, context: tuple[str, str]
) -> None:
    if context[1] == IMPLICIT_LE:
        data = b"\x08\x00\x18\x00\x06\x00\x00\x001.2.3\x00"
    elif context[1] == EXPLICIT_LE:
        data = b"\x08\x00\x18\x00UI\x06\x001.2.3\x00"
    else:
        data = b"\x08\x00\x18\x00UI\x06\x001.2.3\x00 and a tail of its own"
    assert raw_store(receiver, context[0], "1.2.3", data, context) == 0
    (path,) = receiver.files()
    assert dataset_of(path) == (context[1], data)


@pytest.mark.parametrize(
    ("modalities", "calling", "called", "reason"),
    [
        ("OTHER@127.0.0.1", "SCANNER", "RELAY", 3),
        ("SCANNER@10.0.0.0/8", "SCANNER", "RELAY", 3),
        ("SCANNER@127.0.0.0/8", "SCANNER", "WRONG", 7),
        ("SCANNER@127.0.0.0/8", "SCANNER", "RELAY", None),
    ],
)
def test_who_is_let_in(
    tmp_path: Path, modalities: str, calling: str, called: str, reason: int | None
) -> None:
    with receiving(tmp_path, modalities=modalities) as receiver:
        ae = AE(calling)
        assoc = ae.associate(LOOPBACK, receiver.port, contexts=[build_context(CT)], ae_title=called)
        if reason is None:
            assert assoc.is_established
            assoc.release()
            return
        assert assoc.is_rejected
        answer = assoc.acceptor.primitive
        assert answer is not None
        assert (answer.result, answer.result_source, answer.diagnostic) == (1, 1, reason)
        wait_until(
            lambda: [kind for kind, _, _ in receiver.events()] == [Kind.REFUSED],
            "the refusal is in the journal",
        )


def outward_address() -> str:
    """This machine's address that is not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))  # RFC 5737; nothing is sent
        except OSError:
            pytest.skip("this machine has no address but loopback: give it a network")
        return str(sock.getsockname()[0])


def test_the_box_itself_is_let_in_and_nobody_from_elsewhere_under_its_name(tmp_path: Path) -> None:
    outward = outward_address()
    with receiving(tmp_path, modalities="OTHER@10.0.0.1", bind="0.0.0.0") as receiver:
        calls = [  # who, from where, to where
            ("RELAY", LOOPBACK, LOOPBACK, True),
            ("RELAY", outward, outward, True),
            ("RELAY", outward, LOOPBACK, False),  # to the receiver, another machine's address
            ("SCANNER", LOOPBACK, LOOPBACK, False),
        ]
        for calling, source, called, let_in in calls:
            assoc = AE(calling).associate(
                called, receiver.port, contexts=[build_context(CT)], ae_title="RELAY",
                bind_address=(source, 0),
            )  # fmt: skip
            assert assoc.is_established is let_in, (calling, source, called)
            if let_in:
                assoc.release()


def test_a_data_set_that_is_not_what_its_command_says_gets_its_status(receiver: Receiver) -> None:
    _, data = dataset_of_wheel_file()
    uid = pydicom.dcmread(ct_file()).SOPInstanceUID
    assert raw_store(receiver, "1.2.840.10008.5.1.4.1.1.4", uid, data) == 0xA900
    assert raw_store(receiver, CT, "1.2.3", data) == 0xA900
    assert raw_store(receiver, CT, uid, b"GET / HTTP/1.1\r\n\r\n") == 0xC000
    assert raw_store(receiver, CT, uid, data) == 0
    assert len(receiver.files()) == 1
    assert receiver.files()[0].parent.name == "high"
    assert not list((receiver.spool / "tmp" / "receiver").iterdir())


def dataset_of_wheel_file() -> tuple[str, bytes]:
    raw = ct_file().read_bytes()
    meta_bytes = int.from_bytes(raw[140:144], "little")
    return EXPLICIT_LE, raw[144 + meta_bytes :]


def test_below_the_watermark_it_answers_a700_and_recovers_by_itself(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("a small file system of its own needs root: run as root")
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("tmpfs can't be mounted here: run with CAP_SYS_ADMIN")
    try:
        with receiving(tmp_path / "w", spool=small / "spool", min_free_mib=4) as receiver:
            receiver.spool = small / "spool"
            ballast = small / "ballast"
            ballast.write_bytes(b"\0" * (5 << 20))
            done = storescu(receiver, "-v", str(ct_file()))
            assert "OutOfResources" in done.stdout + done.stderr
            assert receiver.files() == []
            ballast.unlink()
            assert storescu(receiver, str(ct_file())).returncode == 0
            assert len(receiver.files()) == 1
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_hostile_sockets_cost_neither_memory_nor_other_senders(receiver: Receiver) -> None:
    assert receiver.daemon.process is not None
    pid = receiver.daemon.process.pid
    before_kib = resident_kib(pid)
    sockets = []
    for _ in range(8):
        sock = socket.create_connection((LOOPBACK, receiver.port))
        sock.sendall(struct.pack(">BBL", 1, 0, 0xFFFFFFF0) + b"\0" * 65536)
        sockets.append(sock)
        half = socket.create_connection((LOOPBACK, receiver.port))
        half.sendall(b"\x01\x00\x00")
        sockets.append(half)
        sockets.append(socket.create_connection((LOOPBACK, receiver.port)))
    assert storescu(receiver, str(ct_file())).returncode == 0
    assert resident_kib(pid) - before_kib < 64 << 10
    for sock in sockets:
        sock.close()
    assert storescu(receiver, str(ct_file())).returncode == 0


def resident_kib(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


def test_a_sender_that_drops_in_mid_image_leaves_nothing(receiver: Receiver) -> None:
    ae = AE("DROPS")
    assoc = ae.associate(
        LOOPBACK, receiver.port, contexts=[build_context(CT, EXPLICIT_LE)], ae_title="RELAY"
    )
    sock = assoc.dul.socket.socket  # type: ignore[union-attr]
    assert sock is not None
    _, data = dataset_of_wheel_file()
    pdv = struct.pack(">LBB", len(data) // 2 + 2, 1, 0) + data[: len(data) // 2]
    sock.sendall(struct.pack(">BBL", 4, 0, len(pdv)) + pdv)
    sock.shutdown(socket.SHUT_RDWR)
    assoc.kill()
    assert storescu(receiver, str(ct_file())).returncode == 0
    assert len(receiver.files()) == 1
    assert not list((receiver.spool / "tmp" / "receiver").iterdir())


def test_sigterm_ends_it_with_code_0(receiver: Receiver) -> None:
    assert storescu(receiver, str(ct_file())).returncode == 0
    receiver.daemon.signal(signal.SIGTERM)
    assert receiver.daemon.wait() == 0
    assert len(receiver.files()) == 1


def test_log_lines_are_json_without_patient_data(receiver: Receiver) -> None:
    assert storescu(receiver, str(ct_file())).returncode == 0
    receiver.daemon.signal(signal.SIGTERM)
    receiver.daemon.wait()
    text = receiver.daemon.log.read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    item = Item.parse(receiver.files()[0].name)
    assert [line["event"] for line in lines if line.get("item") == item.id] == ["received"]
    original = pydicom.dcmread(ct_file())
    assert str(original.PatientName) not in text
    assert str(original.PatientID) not in text


def test_a_port_in_use_is_one_line_and_its_exit_code(receiver: Receiver, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    settings = receiver.daemon.settings | {"spool": tmp_path / "other"}
    second = Daemon("second", receiver.daemon.command, settings, tmp_path / "second.log")
    second.start()
    assert second.wait() == 69
    assert "TACKYBOX_PORT" in second.log.read_text().splitlines()[-1]


def workers_of(receiver: Receiver) -> list[int]:
    assert receiver.daemon.process is not None
    pid = receiver.daemon.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_several_workers_share_one_port(tmp_path: Path) -> None:
    with receiving(tmp_path, workers=3) as receiver:
        wait_until(lambda: len(workers_of(receiver)) == 3, "three workers")
        command = [require("storescu", "dcmtk"), "-aec", "RELAY", LOOPBACK, str(receiver.port)]
        senders = [subprocess.Popen([*command, *[str(ct_file())] * 5]) for _ in range(6)]
        assert [sender.wait(60) for sender in senders] == [0] * 6
        files = receiver.files()
        assert len(files) == 30
        assert all(digest_of(path) == Item.parse(path.name).digest for path in files)


def test_a_killed_worker_costs_its_associations_and_nothing_else(tmp_path: Path) -> None:
    with receiving(tmp_path, workers=1, max_associations=1) as receiver:
        assoc = AE("HELD").associate(
            LOOPBACK, receiver.port, contexts=[build_context(CT)], ae_title="RELAY"
        )
        assert assoc.is_established
        (worker,) = workers_of(receiver)
        os.kill(worker, signal.SIGKILL)
        wait_until(
            lambda: storescu(receiver, str(ct_file())).returncode == 0,
            "a new worker serves, and the seat of the dead one's association is free",
        )
        assert workers_of(receiver) not in ([], [worker])
        assert len(receiver.files()) == 1
