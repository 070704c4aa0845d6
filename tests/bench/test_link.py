"""The long link: its arithmetic, and that what goes in comes out on a real socket."""

import socket
import threading

from hypothesis import given
from hypothesis import strategies as st

from bench.link import QUEUE_BYTES, Direction
from bench.relay import long_link

RATE = 12.5e6
PIECES = st.lists(st.tuples(st.integers(1, 16 << 10), st.floats(0, 0.1)), min_size=1, max_size=200)


@given(PIECES)
def test_pieces_arrive_in_order_at_the_rate_and_not_before_the_delay(pieces):
    link = Direction(RATE, 0.025)
    now_s, last_s = 0.0, 0.0
    for size, pause_s in pieces:
        now_s += pause_s
        arrival_s = link.arrival_s(size, now_s)
        assert arrival_s >= now_s + 0.025 + size / RATE - 1e-9
        assert arrival_s >= last_s + size / RATE - 1e-9
        last_s = arrival_s
    assert link.bytes == sum(size for size, _ in pieces)
    assert last_s >= link.bytes / RATE + 0.025 - 1e-9


def test_a_full_queue_takes_nothing_until_it_has_drained():
    link = Direction(RATE, 0.025)
    taken = 0
    while link.room_in_s(0.0) <= 0:
        link.arrival_s(16 << 10, 0.0)
        taken += 16 << 10
    assert taken <= QUEUE_BYTES + (16 << 10)
    assert link.room_in_s(taken / RATE) <= 0


def test_every_byte_comes_through_both_ways(tmp_path):
    content = bytes(range(256)) * 4096
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        long_link(server.getsockname()[1], tmp_path / "counters") as port,
    ):
        sender = threading.Thread(target=_send, args=(port, content))
        sender.start()
        got = b""
        while got != content:  # the readiness check is a connection of its own
            far, _ = server.accept()
            with far:
                got = b"".join(iter(lambda far=far: far.recv(65536), b""))
                if got:
                    far.sendall(b"end")
        sender.join()
    assert got == content


def _send(port: int, content: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port)) as near:
        near.sendall(content)
        near.shutdown(socket.SHUT_WR)
        assert near.recv(16) == b"end"
