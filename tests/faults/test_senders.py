"""Senders that break off, fall silent, lie about lengths or talk nonsense: others are served
meanwhile, memory stays flat, and nothing is left behind."""

from __future__ import annotations

import contextlib
import random
import resource
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tackybox.demo.stack import LOOPBACK
from tests.daughter.receiver.dialogue import (
    ABORT,
    associate_rq,
    c_store,
    data_set,
    message,
    p_data,
    pdv,
)
from tests.faults.conftest import Record
from tests.faults.relay import Relay
from tests.peers import wait_until

_IMAGES = 5
_MOST_GROWTH_BYTES = 96 << 20  # an open connection's stack and buffer are some 50 KB; 4 GiB are not
_IMAGE_BYTES = 200_000
_CT = "1.2.840.10008.5.1.4.1.1.2"
_EXPLICIT = 1  # the context of `associate_rq` with Explicit VR Little Endian
_INSTANCE = "2.25.9.9.9"


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 4096), hard), hard))
    with Relay(tmp_path_factory.mktemp("senders")) as relay:
        relay.send(relay.images(1))
        relay.wait_quiet()
        yield relay
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def connect(relay: Relay) -> socket.socket:
    return socket.create_connection((LOOPBACK, relay.daughter.port), timeout=10)


def associate(relay: Relay) -> socket.socket:
    sock = connect(relay)
    sock.sendall(associate_rq(called=relay.daughter.aet))
    assert sock.recv(1) == b"\x02", "A-ASSOCIATE-AC"
    return sock


def _image() -> bytes:
    return message(_EXPLICIT, c_store(1, _INSTANCE), data_set(_INSTANCE, _IMAGE_BYTES))


def _break_off(relay: Relay, rng: random.Random) -> list[socket.socket]:
    """In the middle of an image: with A-ABORT, FIN or RST."""
    image = _image()
    for number in range(30):
        sock = associate(relay)
        sock.sendall(image[: rng.randrange(1, len(image) - 1)])
        if number % 3 == 0:
            sock.sendall(ABORT)
        elif number % 3 == 1:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
    return []


def _half_a_pdu(relay: Relay, rng: random.Random) -> list[socket.socket]:
    found = [associate(relay) for _ in range(20)]
    image = _image()
    for sock in found:
        sock.sendall(image[: rng.randrange(1, len(image) - 1)])
    half = [connect(relay) for _ in range(20)]
    request = associate_rq(called=relay.daughter.aet)
    for sock in half:
        sock.sendall(request[: rng.randrange(1, len(request) - 1)])
    return found + half


def _silence(relay: Relay, rng: random.Random) -> list[socket.socket]:
    return [associate(relay) for _ in range(40)]


def _idle(relay: Relay, rng: random.Random) -> list[socket.socket]:
    return [connect(relay) for _ in range(1000)]


def _four_gib(relay: Relay, rng: random.Random) -> list[socket.socket]:
    """A PDU, a fragment, an element that say they are 4 GiB long; and what there is of them."""
    longest = 0xFFFFFFFF
    command = p_data(pdv(_EXPLICIT, 3, c_store(1, _INSTANCE)))
    element = b"\xe0\x7f\x10\x00OB\0\0" + struct.pack("<L", longest - 1)
    found = []
    for start in (
        struct.pack(">BBI", 0x04, 0, longest),
        struct.pack(">BBIIBB", 0x04, 0, longest, longest - 4, _EXPLICIT, 3),
        command + struct.pack(">BBIIBB", 0x04, 0, longest, longest - 4, _EXPLICIT, 0),
        command + p_data(pdv(_EXPLICIT, 0, data_set(_INSTANCE)[:-12] + element)),
    ):
        for _ in range(5):
            sock = associate(relay)
            with contextlib.suppress(OSError):  # it may have heard enough
                sock.sendall(start + rng.randbytes(1 << 20))
            found.append(sock)
    for _ in range(20):
        sock = connect(relay)
        with contextlib.suppress(OSError):
            sock.sendall(struct.pack(">BBI", 0x01, 0, longest) + bytes(1 << 20))
        found.append(sock)
    return found


def _garbage(relay: Relay, rng: random.Random) -> list[socket.socket]:
    found = []
    for number in range(60):
        sock = associate(relay) if number % 2 else connect(relay)
        said = (
            b"GET / HTTP/1.1\r\nHost: relay\r\n\r\n",
            b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
        )
        with contextlib.suppress(OSError):
            sock.sendall(rng.choice([*said, rng.randbytes(rng.randrange(1, 100_000))]))
        found.append(sock)
    return found


TROUBLE: dict[str, Callable[[Relay, random.Random], list[socket.socket]]] = {
    "breaks off in mid-image": _break_off,
    "half a PDU": _half_a_pdu,
    "silence": _silence,
    "1,000 idle connections": _idle,
    "4 GiB length": _four_gib,
    "garbage": _garbage,
}
_SHORT = ("breaks off in mid-image", "1,000 idle connections")


@pytest.mark.fault("senders")
@pytest.mark.seeds(short=1, long=2)
@pytest.mark.parametrize("name", TROUBLE)
@pytest.mark.timeout(180)
def test_others_are_served_and_nothing_stays(
    relay: Relay, name: str, seed: int, record: Record, request: pytest.FixtureRequest
) -> None:
    if request.config.getoption("--faults") == "short" and name not in _SHORT:
        pytest.skip("runs with --faults=long")
    before, memory_bytes = relay.verdict(), rss_bytes(relay)
    images = relay.images(_IMAGES)
    sockets = TROUBLE[name](relay, random.Random(f"{name} {seed}"))
    assert relay.send(images) == [0] * _IMAGES, "served while they are there"
    growth_bytes = rss_bytes(relay) - memory_bytes
    assert growth_bytes < _MOST_GROWTH_BYTES, f"{growth_bytes >> 20} MiB more"
    for sock in sockets:
        sock.close()
    nothing_stays(relay)
    relay.wait_quiet()
    record(relay.verdict().since(before), faults=max(len(sockets), 30))


@pytest.mark.fault("senders")
@pytest.mark.long_fault
@pytest.mark.timeout(180)
def test_one_byte_a_second_keeps_nobody_waiting(relay: Relay, record: Record) -> None:
    before = relay.verdict()
    image = _image()
    slow = [associate(relay) for _ in range(20)]
    stop = threading.Event()

    def drip() -> None:
        for byte in image:
            for sock in slow:
                with contextlib.suppress(OSError):
                    sock.send(bytes([byte]))
            if stop.wait(1.0):
                return

    dripping = threading.Thread(target=drip, daemon=True)
    dripping.start()
    assert relay.send(relay.images(_IMAGES)) == [0] * _IMAGES
    stop.set()
    dripping.join()
    for sock in slow:
        sock.close()
    nothing_stays(relay)
    relay.wait_quiet()
    record(relay.verdict().since(before), faults=len(slow))


def nothing_stays(relay: Relay) -> None:
    """No part of an image, and no file that was made ready for one."""
    tmp = relay.daughter.spool / "tmp" / "receiver"
    wait_until(lambda: not list(tmp.iterdir()), "no residue in tmp/receiver", 20)


def rss_bytes(relay: Relay) -> int:
    """What the receiver and its workers have in memory of their own."""
    receiver = relay.daughter.receiver
    pids = [p.pid for p in relay.children(receiver)]
    pids += [receiver.process.pid] if receiver.process else []
    return sum(_anonymous_bytes(pid) for pid in pids)


def _anonymous_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) << 10
    return 0
