"""A TCP proxy that misbehaves on cue: what a network between two boxes can do to them.

    with Proxy(port_of_the_inbox) as proxy:
        ...                                   # talk to 127.0.0.1:proxy.port
        proxy.cut_after(10_000, UP)           # RST on both sides after so many further bytes
        proxy.black_hole()                    # takes connections and bytes, forwards nothing
        proxy.heal()                          # all as at the beginning

"Up" is from the one who connects to the target, "down" is back. Bytes are counted over all
connections of a direction, from the call that names a number; a cut or a flip happens once, at
exactly that byte or bit, so that a run with the same bytes is the same run. What was on the way
when a RST came may be lost to its reader, as it is in a real one. Not promised: packets. A kernel
stands at either end, so a peer is never without its acknowledgements.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import time
from dataclasses import dataclass, field

from tackybox.demo.stack import LOOPBACK

UP, DOWN = "up", "down"
RST, FIN = "rst", "fin"
_PIECE_BYTES = 65536
_SLICES_PER_S = 20  # how smoothly a limited rate flows
_TICK_S = 0.05


@dataclass(slots=True)
class _Way:
    """One direction: what was carried over it, and what is to happen to it."""

    carried_bytes: int = 0
    cut_at_bytes: int | None = None
    cut_how: str = RST
    flip_at_bit: int | None = None
    free_at_s: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(slots=True, eq=False)
class _Pair:
    """One connection: the socket of the one who came, and the one that we opened for it."""

    client: socket.socket
    target: socket.socket
    severed: bool = False  # what happens to one side is not told to the other

    def end(self, how: str = FIN) -> None:
        if how == RST:
            self.severed = True  # else who wakes at one side's end may say a FIN to the other
        for sock in (self.client, self.target):
            _end(sock, how)


class Proxy:
    """Carries connections from 127.0.0.1:`port` to 127.0.0.1:`target`; use it in a with block.

    `delay_s` and `rate_bytes_s` (0: no limit; for each direction, all connections together) may be
    set at any time. `accepted` counts connections, `cuts` and `flips` what was injected.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.delay_s = 0.0
        self.rate_bytes_s = 0
        self.accepted = self.cuts = self.flips = 0
        self._ways = {UP: _Way(), DOWN: _Way()}
        self._flows = threading.Event()
        self._flows.set()
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._pairs: list[_Pair] = []
        self._listener = _listen(0)
        self.port = int(self._listener.getsockname()[1])

    def __enter__(self) -> Proxy:
        self._serve()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._flows.set()
        self._stop_listening()
        self.cut(FIN)

    # --- faults

    def cut(self, how: str = RST) -> None:
        """End every connection now."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        self.cuts += len(pairs)
        for pair in pairs:
            pair.end(how)

    def cut_after(self, count_bytes: int, direction: str = UP, how: str = RST) -> None:
        """End every connection when `count_bytes` more have gone in `direction`; not one more."""
        way = self._ways[direction]
        with way.lock:
            way.cut_at_bytes, way.cut_how = way.carried_bytes + count_bytes, how

    def flip(self, bit: int, direction: str = UP) -> None:
        """Invert bit number `bit` of what is yet to go in `direction`; bit 0 is the next one."""
        way = self._ways[direction]
        with way.lock:
            way.flip_at_bit = way.carried_bytes * 8 + bit

    def black_hole(self) -> None:
        """Forward nothing more; whoever connects is accepted, and hears nothing."""
        self._flows.clear()

    def half_open(self, gone: str = "target") -> None:
        """The "target" (or the "client") of every connection is gone and the other is not told.

        New connections go through.
        """
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            pair.severed = True
            _end(pair.target if gone == "target" else pair.client, RST)

    def refuse(self) -> None:
        """Nobody listens any more; connections that stand are reset."""
        self._stop_listening()
        self.cut()

    def heal(self) -> None:
        """Undo everything; what a black hole held back goes on, what is half open is ended."""
        self.delay_s, self.rate_bytes_s = 0.0, 0
        for way in self._ways.values():
            with way.lock:
                way.cut_at_bytes = way.flip_at_bit = None
        with self._lock:
            severed = [pair for pair in self._pairs if pair.severed]
        for pair in severed:
            pair.end(RST)
        self._flows.set()
        if self._listener.fileno() < 0:
            self._listener = _listen(self.port)
            self._serve()

    def carried_bytes(self, direction: str = UP) -> int:
        """How many bytes have gone in `direction`."""
        return self._ways[direction].carried_bytes

    # --- the carrying

    def _serve(self) -> None:
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while not self._closed.is_set():
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self.accepted += 1
            threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        if not self._wait_until_it_flows():
            client.close()
            return
        try:
            target = socket.create_connection((LOOPBACK, self.target), timeout=10)
        except OSError:
            _end(client, RST)
            return
        target.settimeout(None)
        pair = _Pair(client, target)
        for sock in (client, target):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._pairs.append(pair)
        for direction in (UP, DOWN):
            threading.Thread(target=self._pump, args=(pair, direction), daemon=True).start()

    def _pump(self, pair: _Pair, direction: str) -> None:
        source, sink = pair.client, pair.target
        if direction == DOWN:
            source, sink = sink, source
        with contextlib.suppress(OSError, ValueError):
            while self._wait_until_it_flows() and (piece := source.recv(self._piece_bytes())):
                if not self._wait_until_it_flows():  # a hole that opened while we were reading
                    return
                if not pair.severed:
                    self._carry(piece, sink, self._ways[direction])
        if not pair.severed:
            with contextlib.suppress(OSError):
                sink.shutdown(socket.SHUT_WR)

    def _carry(self, piece: bytes, sink: socket.socket, way: _Way) -> None:
        if self.delay_s:
            time.sleep(self.delay_s)
        with way.lock:
            allowed = len(piece)
            if way.cut_at_bytes is not None:
                allowed = min(allowed, way.cut_at_bytes - way.carried_bytes)
            is_cut = way.cut_at_bytes is not None and way.carried_bytes + allowed >= (
                way.cut_at_bytes
            )
            piece = self._flipped(piece[:allowed], way)
            way.carried_bytes += len(piece)
            if is_cut:
                way.cut_at_bytes = None
            wait_s = self._wait_s(len(piece), way)
        if wait_s > 0:
            time.sleep(wait_s)
        _send(sink, piece)
        if is_cut:
            self.cut(way.cut_how)

    def _flipped(self, piece: bytes, way: _Way) -> bytes:
        if way.flip_at_bit is None:
            return piece
        at, bit = divmod(way.flip_at_bit - way.carried_bytes * 8, 8)
        if at >= len(piece):
            return piece
        way.flip_at_bit = None
        self.flips += 1
        changed = bytearray(piece)
        changed[at] ^= 1 << bit
        return bytes(changed)

    def _wait_s(self, count_bytes: int, way: _Way) -> float:
        """How long this piece is on its way, if the rate is limited."""
        if not self.rate_bytes_s:
            return 0.0
        now_s = time.monotonic()
        way.free_at_s = max(way.free_at_s, now_s) + count_bytes / self.rate_bytes_s
        return way.free_at_s - now_s

    def _piece_bytes(self) -> int:
        if not self.rate_bytes_s:
            return _PIECE_BYTES
        return max(1, min(_PIECE_BYTES, self.rate_bytes_s // _SLICES_PER_S))

    def _wait_until_it_flows(self) -> bool:
        """False if the proxy was closed meanwhile."""
        while not self._flows.wait(_TICK_S):
            pass
        return not self._closed.is_set()

    def _stop_listening(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._listener.close()


def _listen(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((LOOPBACK, port))
    sock.listen(128)
    return sock


def _send(sink: socket.socket, piece: bytes) -> None:
    """Send all of `piece`; raises OSError, or ValueError if `sink` is closed meanwhile.

    In short waits: who waits in a system call keeps a closed socket from telling its peer.
    """
    view = memoryview(piece)
    while view:
        if select.select([], [sink], [], _TICK_S)[1]:
            view = view[sink.send(view, socket.MSG_DONTWAIT) :]


def _end(sock: socket.socket, how: str) -> None:
    """Close `sock`, also under a thread that reads from it; with RST the peer gets ECONNRESET."""
    with contextlib.suppress(OSError):
        if how == RST:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.shutdown(socket.SHUT_RD)  # wakes who reads from it, and tells the peer nothing
        else:
            sock.shutdown(socket.SHUT_RDWR)
    sock.close()
