"""A long link between two processes of one machine: a TCP proxy that delays and limits the rate.

    python -m bench.link LISTEN_PORT TARGET_PORT COUNTERS [--delay-ms 25] [--rate-mb-s 12.5]

Each direction is one link that all connections share: a piece of data waits until those before it
are through at the rate (12.5 MB/s is 100 Mbit/s), then arrives `delay` later. Before the link
stands a router's queue of 256 KB at most; when it is full nothing more is read, so that senders
feel it. A connection's first bytes wait for one round trip, as its handshake would. COUNTERS is a
file of two 64-bit numbers, little endian: bytes that came to the link from the caller, and to it.

Not modelled: loss, slow start, headers of TCP and IP, acknowledgements' share of the link.
"""

from __future__ import annotations

import argparse
import mmap
import selectors
import signal
import socket
import struct
import sys
import time
from collections import deque
from pathlib import Path

LOOPBACK = "127.0.0.1"
QUEUE_BYTES = 256 << 10
_PIECE_BYTES = 16 << 10
_SOCKET_BYTES = 64 << 10  # the kernel's own buffers would be a second, hidden queue
_LONGEST_WAIT_S = 0.5


class Direction:
    """One direction of the link: when what is put on it now comes out at the other end."""

    def __init__(self, rate_bytes_per_s: float, delay_s: float) -> None:
        self._rate = rate_bytes_per_s
        self._delay_s = delay_s
        self._free_at_s = 0.0
        self.bytes = 0

    @property
    def most_bytes(self) -> int:
        """What can be on the link and in the queue before it."""
        return QUEUE_BYTES + int(self._rate * self._delay_s)

    def room_in_s(self, now_s: float) -> float:
        """How long until the queue before the link takes another piece; 0 or less is at once."""
        return self._free_at_s - now_s - (QUEUE_BYTES - _PIECE_BYTES) / self._rate

    def arrival_s(self, size_bytes: int, now_s: float) -> float:
        """Put `size_bytes` on the link; when they have arrived."""
        self._free_at_s = max(self._free_at_s, now_s) + size_bytes / self._rate
        self.bytes += size_bytes
        return self._free_at_s + self._delay_s


class Flow:
    """One connection's data in one direction, from `source` to `target`."""

    def __init__(
        self, source: socket.socket, target: socket.socket, link: Direction, open_at_s: float
    ) -> None:
        self.source, self.target, self.link = source, target, link
        self.open_at_s = open_at_s
        self.back: Flow | None = None
        self.waiting: deque[tuple[float, bytes]] = deque()
        self.has_ended = False
        self.is_closed = False
        self._held_bytes = 0
        self._limit_bytes = 2 * link.most_bytes

    @property
    def has_room(self) -> bool:
        """Whether the receiver keeps up: what is under way and not taken is bounded."""
        return self._held_bytes <= self._limit_bytes

    def take(self, now_s: float) -> bool:
        """Read one piece onto the link if there is room and something to read."""
        if self.has_ended or now_s < self.open_at_s or not self.has_room:
            return False
        try:
            piece = self.source.recv(_PIECE_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            piece = b""
        self.has_ended = not piece
        self._held_bytes += len(piece)
        self.waiting.append((self.link.arrival_s(len(piece), now_s), piece))
        return True

    def give(self, now_s: float) -> None:
        """Hand over what has arrived, as far as the receiver takes it."""
        while self.waiting and self.waiting[0][0] <= now_s:
            at_s, piece = self.waiting.popleft()
            try:
                if not piece:
                    self.is_closed = True
                    self.target.shutdown(socket.SHUT_WR)
                    return
                sent = self.target.send(piece)
            except BlockingIOError:
                sent = 0
            except OSError:
                self.has_ended = self.is_closed = True
                self.waiting.clear()
                return
            self._held_bytes -= sent
            if sent < len(piece):
                self.waiting.appendleft((at_s, piece[sent:]))
                return


class Link:
    """The proxy's loop, for `listener` to `target_port`."""

    def __init__(
        self, listener: socket.socket, target_port: int, rate_bytes_per_s: float, delay_s: float
    ) -> None:
        self._listener = listener
        self._target_port = target_port
        self._delay_s = delay_s
        self.up, self.down = (Direction(rate_bytes_per_s, delay_s) for _ in range(2))
        self._flows: list[Flow] = []
        self._selector = selectors.EpollSelector()
        self._selector.register(listener, selectors.EVENT_READ, None)

    def step(self) -> None:
        """Wait until something may be done, and do it."""
        for key, _ in self._selector.select(self._pause_s(time.monotonic())):
            if key.fileobj is self._listener:
                self._accept()
        now_s = time.monotonic()
        # A piece each in turn: connections share the link as they would share a router.
        some = True
        while some:
            some = False
            for flow in self._flows:
                if flow.link.room_in_s(now_s) <= 0:
                    some |= flow.take(now_s)
        for flow in self._flows:
            flow.give(now_s)
        self._flows = [*self._flows[1:], *self._flows[:1]]
        self._watch(now_s)

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        far = socket.create_connection((LOOPBACK, self._target_port))
        open_at_s = time.monotonic() + 2 * self._delay_s
        for sock in (near, far):
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        there, back = Flow(near, far, self.up, open_at_s), Flow(far, near, self.down, open_at_s)
        there.back, back.back = back, there
        self._flows += [there, back]

    def _pause_s(self, now_s: float) -> float:
        """Until the next arrival, or until the queue has room for who is waiting to be read."""
        pauses = [_LONGEST_WAIT_S]
        for flow in self._flows:
            if flow.waiting:
                pauses.append(max(flow.waiting[0][0] - now_s, 0.001))
            if not flow.has_ended:
                pauses += [p for p in (flow.link.room_in_s(now_s), flow.open_at_s - now_s) if p > 0]
        return min(pauses)

    def _watch(self, now_s: float) -> None:
        """Close what is through; ask the kernel only for sockets that could be read now."""
        through = [f for f in self._flows if f.is_closed and f.back and f.back.is_closed]
        for flow in through:
            self._ask(flow.source, False)
            flow.source.close()
            self._flows.remove(flow)
        for flow in self._flows:
            can = not flow.has_ended and now_s >= flow.open_at_s and flow.has_room
            self._ask(flow.source, can and flow.link.room_in_s(now_s) <= 0)

    def _ask(self, sock: socket.socket, wanted: bool) -> None:
        is_asked = sock in self._selector.get_map()
        if wanted and not is_asked:
            self._selector.register(sock, selectors.EVENT_READ, None)
        elif is_asked and not wanted:
            self._selector.unregister(sock)


def main() -> int:
    """Run until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("listen_port", type=int)
    parser.add_argument("target_port", type=int)
    parser.add_argument("counters", type=Path)
    parser.add_argument("--delay-ms", type=float, default=25.0)
    parser.add_argument("--rate-mb-s", type=float, default=12.5)
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    args.counters.write_bytes(bytes(16))
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        listener.setsockopt(socket.SOL_SOCKET, option, _SOCKET_BYTES)
    listener.bind((LOOPBACK, args.listen_port))
    listener.listen(64)
    link = Link(listener, args.target_port, args.rate_mb_s * 1e6, args.delay_ms / 1e3)
    with args.counters.open("r+b") as file, mmap.mmap(file.fileno(), 16) as counters:
        while True:
            link.step()
            counters[:] = struct.pack("<QQ", link.up.bytes, link.down.bytes)


def carried_bytes(counters: Path) -> tuple[int, int]:
    """What the link whose file is `counters` has carried so far: up, down."""
    up, down = struct.unpack("<QQ", counters.read_bytes())
    return up, down


if __name__ == "__main__":
    sys.exit(main())
