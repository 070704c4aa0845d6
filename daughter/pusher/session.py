"""A request that runs at a mother's gate, over ssh: lines to it, lines from it.

Every wait is bounded; RoadError says in a sentence for people what is wrong. What a line means is
the caller's business.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import time
from pathlib import Path
from typing import IO, Any

from daughter.pusher import trouble
from daughter.pusher.trouble import RoadError

_LONGEST_LINE_BYTES = 16 << 20


class Session:
    """A request that runs at the mother's gate: lines to it, lines from it, every wait bounded.

    It ends by itself when this process dies, because its standard input closes.
    """

    def __init__(self, command: list[str], stderr: Path) -> None:
        self._stderr = stderr
        self._rest = b""
        with stderr.open("wb") as file:
            # A session of its own: a terminal's Ctrl-C is for us to act on, not for ssh.
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file, bufsize=0,
                start_new_session=True,
            )  # fmt: skip

    @property
    def is_alive(self) -> bool:
        """Whether it still runs, at both ends.

        ssh alone does not tell: a master goes on after its own request for the sake of others.
        """
        if self._process.poll() is not None:
            return False
        poll = select.poll()
        try:
            poll.register(self._stream(self._process.stdout), 0)
        except ValueError:  # closed under our hands
            return False
        return not poll.poll(0)

    @property
    def exit_code(self) -> int | None:
        """What it ended with; None while it runs."""
        return self._process.poll()

    def close(self) -> None:
        """End it."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def write(self, line: bytes, timeout_s: float) -> None:
        """Send a line; raises RoadError."""
        until_s = time.monotonic() + timeout_s
        view = memoryview(line)
        try:
            fd = self._stream(self._process.stdin)
            os.set_blocking(fd, False)
            while view:
                left_s = until_s - time.monotonic()
                if left_s <= 0 or not select.select([], [fd], [], left_s)[1]:
                    raise RoadError("it does not answer any more")
                view = view[os.write(fd, view[:65536]) :]
        except (OSError, ValueError) as error:  # it ended, or was closed under our hands
            raise self._error("it closed the connection") from error

    def read_answer(self, timeout_s: float) -> dict[str, Any]:
        """The next line as a JSON object; raises RoadError."""
        line = self.read_line(timeout_s)
        try:
            answer = json.loads(line)
        except ValueError as error:
            raise trouble.no_gate() from error
        return answer if isinstance(answer, dict) else {}

    def read_line(self, timeout_s: float) -> bytes:
        """The next line; raises RoadError."""
        until_s = time.monotonic() + timeout_s
        while b"\n" not in self._rest:
            left_s = until_s - time.monotonic()
            try:
                fd = self._stream(self._process.stdout)
                if left_s <= 0 or not select.select([fd], [], [], left_s)[0]:
                    raise RoadError("it does not answer any more")
                piece = os.read(fd, 65536)
            except (OSError, ValueError) as error:
                raise RoadError("the connection is closed") from error
            if not piece or len(self._rest) > _LONGEST_LINE_BYTES:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(5)
                raise self._error("it closed the connection")
            self._rest += piece
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    @staticmethod
    def _stream(stream: IO[bytes] | None) -> int:
        if stream is None:
            raise ValueError("no pipe")
        return stream.fileno()

    def _error(self, otherwise: str) -> RoadError:
        with contextlib.suppress(OSError):
            return trouble.in_words(self._stderr.read_bytes(), otherwise)
        return RoadError(otherwise)
