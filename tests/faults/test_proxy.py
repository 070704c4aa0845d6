"""The fault proxy does to a connection exactly what it was told."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tackybox.demo.stack import LOOPBACK
from tests.faults.proxy import DOWN, FIN, RST, UP, Proxy

_TIMEOUT_S = 10.0
PAYLOAD = bytes(range(256)) * 1024


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """A proxy before a server that sends everything back."""
    with socket.create_server((LOOPBACK, 0)) as server:
        threading.Thread(target=_echo_all, args=(server,), daemon=True).start()
        with Proxy(int(server.getsockname()[1])) as running:
            yield running


def _echo_all(server: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            peer, _ = server.accept()
            threading.Thread(target=_echo, args=(peer,), daemon=True).start()


def _echo(peer: socket.socket) -> None:
    with peer, contextlib.suppress(OSError):
        while piece := peer.recv(65536):
            peer.sendall(piece)


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection((LOOPBACK, proxy.port), timeout=_TIMEOUT_S)


def exchange(sock: socket.socket, data: bytes) -> bytes:
    """What came back of `data` until all did, or until the end."""
    sender = threading.Thread(target=_send_all, args=(sock, data), daemon=True)
    sender.start()
    received = bytearray()
    with contextlib.suppress(ConnectionResetError):
        while len(received) < len(data) and (piece := sock.recv(65536)):
            received += piece
    return bytes(received)


def _send_all(sock: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):
        sock.sendall(data)


def is_served(proxy: Proxy) -> bool:
    with connect(proxy) as sock:
        return exchange(sock, b"there?") == b"there?"


def test_without_a_fault_every_byte_goes_both_ways(proxy: Proxy) -> None:
    with connect(proxy) as sock:
        assert exchange(sock, PAYLOAD) == PAYLOAD
    assert proxy.carried_bytes(UP) == proxy.carried_bytes(DOWN) == len(PAYLOAD)
    assert proxy.accepted == 1


@pytest.mark.parametrize("direction", [UP, DOWN])
def test_a_cut_comes_after_exactly_so_many_bytes(proxy: Proxy, direction: str) -> None:
    with connect(proxy) as sock:
        assert exchange(sock, b"before") == b"before"
        proxy.cut_after(100_001, direction, FIN)
        received = exchange(sock, PAYLOAD)
    assert proxy.carried_bytes(direction) == 6 + 100_001
    assert PAYLOAD.startswith(received)
    assert direction == UP or len(received) == 100_001
    assert is_served(proxy), "one cut was asked for"


def test_a_reset_is_a_reset(proxy: Proxy) -> None:
    with connect(proxy) as sock:
        assert exchange(sock, b"before") == b"before"
        proxy.cut(RST)
        with pytest.raises(ConnectionResetError):
            sock.recv(1)


@pytest.mark.parametrize("direction", [UP, DOWN])
def test_one_bit_is_flipped_and_no_other(proxy: Proxy, direction: str) -> None:
    with connect(proxy) as sock:
        assert exchange(sock, b"before") == b"before"
        proxy.flip(8 * 70_000 + 3, direction)
        received = exchange(sock, PAYLOAD)
    differing = [n for n, (a, b) in enumerate(zip(PAYLOAD, received, strict=True)) if a != b]
    assert differing == [70_000]
    assert received[70_000] == PAYLOAD[70_000] ^ 8
    assert proxy.flips == 1


def test_a_black_hole_takes_connections_and_answers_nothing_until_healed(proxy: Proxy) -> None:
    with connect(proxy) as before:
        assert exchange(before, b"before") == b"before"
        proxy.black_hole()
        with connect(proxy) as during:
            for sock in (before, during):
                sock.sendall(b"hello")
                sock.settimeout(0.2)
                with pytest.raises(TimeoutError):
                    sock.recv(1)
            proxy.heal()
            for sock in (before, during):
                sock.settimeout(_TIMEOUT_S)
                assert sock.recv(5) == b"hello"


def test_half_open_only_new_connections_are_served(proxy: Proxy) -> None:
    with connect(proxy) as before:
        assert exchange(before, b"before") == b"before"
        proxy.half_open()
        before.sendall(b"hello")
        before.settimeout(0.2)
        with pytest.raises(TimeoutError):
            before.recv(1)
        assert is_served(proxy)


def test_who_is_refused_is_served_at_the_same_port_after_healing(proxy: Proxy) -> None:
    assert is_served(proxy)
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        connect(proxy)
    proxy.heal()
    assert is_served(proxy)


def test_a_rate_and_a_delay_take_their_time(proxy: Proxy) -> None:
    with connect(proxy) as sock:
        proxy.rate_bytes_s, proxy.delay_s = 1 << 20, 0.001
        began_s = time.monotonic()
        assert exchange(sock, PAYLOAD) == PAYLOAD
        assert time.monotonic() - began_s > 0.2, "256 KiB at 1 MiB/s"


def test_a_cut_ends_a_connection_whose_reader_does_not_read(proxy: Proxy) -> None:
    with connect(proxy) as sock:
        sock.settimeout(1.0)
        with pytest.raises(TimeoutError):
            while True:
                sock.sendall(PAYLOAD)  # nobody reads what comes back: all buffers fill up
        proxy.cut(RST)
        sock.settimeout(_TIMEOUT_S)
        with pytest.raises(OSError, match=r"reset|Broken pipe"):
            while True:
                sock.sendall(PAYLOAD)
