"""Rsyncs that stand by: started, past ssh, the gate and rsync's handshake, waiting for names.

An rsync that is to read names from its standard input sets its connection up before it does. So
some are kept that far, and a push costs neither a start nor the round trips of one. Promises: one
that stands by has claimed nothing; at most `WAITING` do, all as the last push wanted them, an
urgent one only if it was alone; while a push is under way one is kept for an urgent push, and of
those that wait one that is ready; one that ended is not started again more often than every
`_RESTART_S`, because a mother may be refusing it.
Not promised: that one is ready, or even that it lives. Then a push starts one for itself.

A push ends when rsync has said its goodbyes: everything that it could write is in place at the
mother. That rsync and ssh then take some 40 ms to end is not waited for.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable

from daughter.pusher import trouble
from daughter.pusher.trouble import RoadError

WAITING = 3
# Options by which rsync says how far it is, and what it says.
READY = ("--info=FLIST1", b"building file list")
GOODBYE = ("--debug=EXIT2", b"client_run waiting on")
# rsync(1): a file could not be read, or vanished. The others went; commit tells which.
_SOME_FILES_FAILED = (23, 24)
_REFILL_AFTER_S = 0.1
_RESTART_S = 30.0
_MOST_WORDS_BYTES = 65536
_END_S = 5.0


class Rsync:
    """One started `command`, an rsync that sends the files whose names it is given, once."""

    def __init__(self, command: list[str], *, compress: bool) -> None:
        self.compress = compress
        self._words = b""
        # A session of its own: a terminal's Ctrl-C is for us to act on, not for rsync.
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            bufsize=0, start_new_session=True,
        )  # fmt: skip

    @property
    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    @property
    def is_ready(self) -> bool:
        """Whether it has said that it would read names."""
        if READY[1] not in self._words:
            self._read(0)
        return READY[1] in self._words

    def wait_ready(self, meanwhile: Callable[[], None]) -> None:
        """Wait until it would read names; raises RoadError. `meanwhile` as for `send`."""
        self._read_until(READY[1], meanwhile)

    def send(self, names: bytes, meanwhile: Callable[[], None]) -> None:
        """Have it send the files `names`, each ended by NUL; raises RoadError.

        rsync itself bounds the wait. `meanwhile` is called once, if it takes a while.
        """
        self._write(names)
        self._read_until(GOODBYE[1], meanwhile)

    def _read_until(self, word: bytes, meanwhile: Callable[[], None]) -> None:
        """Wait for `word`, or for its end; raises RoadError if that says that it has failed."""
        timeout_s: float | None = _REFILL_AFTER_S
        while word not in self._words:
            piece = self._read(timeout_s)
            if piece is None:
                meanwhile()
                timeout_s = None
            elif not piece:
                code = self._process.wait()
                if code and code not in _SOME_FILES_FAILED:
                    raise trouble.in_words(self._words, f"rsync ended with code {code}")
                return

    def _read(self, timeout_s: float | None) -> bytes | None:
        """Hear what it says next: nothing if that was all, None if it says nothing for so long."""
        stdout = self._process.stdout
        if stdout is None:
            return b""
        if not select.select([stdout], [], [], timeout_s)[0]:
            return None
        piece = os.read(stdout.fileno(), 65536)
        self._words = (self._words + piece)[-_MOST_WORDS_BYTES:]
        return piece

    def _write(self, names: bytes) -> None:
        """Give it the names; if it has ended, what it said tells why."""
        if self._process.stdin is None:
            raise RoadError("rsync was given names already")
        with contextlib.suppress(BrokenPipeError), self._process.stdin as stdin:
            view = memoryview(names)
            while view:
                view = view[stdin.write(view) or 0 :]

    def dismiss(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Tell it, and the ssh that it runs, to end; does not wait."""
        if self.is_alive:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def forget(self) -> None:
        """Wait for its end, and free what we hold of it."""
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self.dismiss(signal.SIGKILL)
            self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()


class Standbys:
    """Those that wait, of one open road; `command` says how to start one, compressing or not.

    Threads may share it. After `close` it starts no more.
    """

    def __init__(self, command: Callable[[bool], list[str]], *, compress: bool) -> None:
        self._command = command
        self._compress = compress
        self._lock = threading.Lock()
        self._waiting: list[Rsync] = []
        self._ending: list[Rsync] = []
        self._refill_at_s = 0.0
        self._pushes = 0  # under way
        self._closed = False

    def push(self, names: Callable[[], bytes], *, compress: bool, urgent: bool) -> bool:
        """Send the files `names` with one that waits, or with a new one; raises RoadError.

        They are asked for when it is ready, so that what has come meanwhile goes as well. Returns
        whether it compressed: an urgent push does not wait for one that does as it wants.
        """
        rsync = self._take(compress, urgent)
        try:
            rsync.wait_ready(self.refill)
            rsync.send(names(), self.refill)
        except RoadError:
            rsync.dismiss()
            raise
        finally:
            with self._lock:
                self._pushes -= 1
                self._ending.append(rsync)
        return rsync.compress

    def refill(self) -> None:
        """Have as many stand by as there should be."""
        with self._lock:
            self._sort_out()
            while (
                len(self._waiting) < WAITING
                and not self._closed
                and time.monotonic() >= self._refill_at_s
            ):
                self._waiting.append(self._start(self._compress))
            ended = [rsync for rsync in self._ending if not rsync.is_alive]
            self._ending = [rsync for rsync in self._ending if rsync not in ended]
        for rsync in ended:
            rsync.forget()

    def close(self) -> None:
        """End those that wait."""
        with self._lock:
            self._closed = True
            ending = [*self._waiting, *self._ending]
            for rsync in ending:
                rsync.dismiss()
            self._waiting.clear()
            self._ending.clear()
        for rsync in ending:
            rsync.forget()

    def _take(self, compress: bool, urgent: bool) -> Rsync:
        with self._lock:
            is_alone = not self._pushes
            self._pushes += 1
            if is_alone or not urgent:
                self._compress = compress
            self._sort_out()
            self._waiting.sort(key=lambda rsync: not rsync.is_ready)
            kept = 0 if is_alone or urgent else 1
            if len(self._waiting) > kept:
                return self._waiting.pop(kept)
        return self._start(compress)

    def _sort_out(self) -> None:
        """No longer count those that have ended, or are not as wanted."""
        for rsync in list(self._waiting):
            if not rsync.is_alive:
                self._refill_at_s = time.monotonic() + _RESTART_S
            elif rsync.compress == self._compress:
                continue
            rsync.dismiss()
            self._waiting.remove(rsync)
            self._ending.append(rsync)

    def _start(self, compress: bool) -> Rsync:
        return Rsync(self._command(compress), compress=compress)
