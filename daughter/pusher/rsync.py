"""The road to one mother: the only door to rsync and ssh.

One ssh connection is kept open; it runs the gate's `commit` and is at the same time the master
that rsyncs and `receipts` are multiplexed over. It ends by itself when this process dies, because
its standard input closes. Nothing here decides what becomes of an item.

Every wait is bounded. RoadError says in a sentence for people why the road does not work.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from daughter.pusher import trouble
from daughter.pusher.trouble import ReceiptsLostError, RoadError
from tackybox.config import DaughterConfig, MotherAddress
from tackybox.errors import DataError
from tackybox.spool import Entry, Receipt

CONNECT_TIMEOUT_S = 15.0
_PROTOCOL = 1
_EX_DATAERR = 65
# rsync(1): a file could not be read, or vanished. The others went; commit tells which.
_SOME_FILES_FAILED = (23, 24)
_LONGEST_LINE_BYTES = 16 << 20
_SLOWEST_VERIFY_BYTES_S = 20e6  # what a mother on a poor disk hashes while we wait for her answer

_SSH_CONFIG = """\
Host mother
  HostName {host}
  Port {port}
  User {user}
  IdentityFile "{key}"
  IdentitiesOnly yes
  UserKnownHostsFile "{known_hosts}"
  GlobalKnownHostsFile none
  StrictHostKeyChecking yes
  UpdateHostKeys no
  BatchMode yes
  ForwardX11 no
  ConnectTimeout {connect_timeout_s}
  ServerAliveInterval 10
  ServerAliveCountMax 3
  ControlPath {run_dir}/control
  Compression no
"""


@dataclass(frozen=True, slots=True)
class ClockOffset:
    """How far a mother's clock is before ours: `seconds`, right to within `uncertainty_s`."""

    seconds: float
    uncertainty_s: float


@dataclass(frozen=True, slots=True)
class Answer:
    """The gate's answer for one announced item: landed, mismatch or missing."""

    item_name: str
    kind: str


class Road:
    """A connection to `address` as `config` says; open it before anything else.

    `push` may run in several threads at once; `commit` lets one after the other in.
    """

    def __init__(self, address: MotherAddress, config: DaughterConfig) -> None:
        self.name = address.name
        self.identity = ""
        self._timeout_s = config.network_timeout_s
        self._run_dir = Path(tempfile.mkdtemp(prefix="tackybox-road-"))
        self._config_file = self._run_dir / "ssh_config"
        self._config_file.write_text(
            _SSH_CONFIG.format(
                host=address.host, port=address.port, user=address.user, key=config.ssh_key,
                known_hosts=config.known_hosts, run_dir=self._run_dir,
                connect_timeout_s=int(CONNECT_TIMEOUT_S),
            )
        )  # fmt: skip
        self._session: _Session | None = None
        self._asking: _Session | None = None
        self._greeted = False
        self._committing = threading.Lock()

    @property
    def is_open(self) -> bool:
        """Whether we were greeted and the connection stands, as far as is known without asking."""
        session = self._session
        return self._greeted and session is not None and session.is_alive

    def open(self) -> None:
        """Connect and be greeted; raises RoadError. `identity` is then the mother's spool."""
        self.close()
        (self._run_dir / "control").unlink(missing_ok=True)
        self._session = self._begin("commit", "-o", "ControlMaster=yes")
        try:
            greeting = self._session.read_answer(CONNECT_TIMEOUT_S * 2)
            if greeting.get("protocol") != _PROTOCOL:
                raise RoadError("it speaks another version of the protocol; update the older box")
            self.identity = str(greeting["spool"])
            self._greeted = True
        except KeyError as error:
            self.close()
            raise trouble.no_gate() from error
        except RoadError:
            self.close()
            raise

    def close(self) -> None:
        """End the connection; what runs over it fails."""
        self._greeted = False
        asking, self._asking = self._asking, None
        session, self._session = self._session, None
        for one in (asking, session):
            if one is not None:
                one.close()

    def discard(self) -> None:
        """Close for good and remove the connection's files."""
        self.close()
        shutil.rmtree(self._run_dir, ignore_errors=True)

    def clock(self) -> ClockOffset | None:
        """Compare clocks over an open road; None if she does not say the time.

        A request over the connection that stands, so that no login counts. Raises RoadError.
        """
        began_s = time.time()
        asking = self._begin("receipts --after 0")
        try:
            at = asking.read_answer(self._timeout_s).get("at")
            return _clock_offset(at, began_s, time.time())
        finally:
            asking.close()

    def join(self, public_key: str) -> None:
        """Have the box that holds `public_key` let in, with a code for our key; raises RoadError.

        Not on an open road. After a RoadError it is unknown whether she did.
        """
        session = self._begin("join")
        try:
            session.write(f"{public_key}\n".encode(), self._timeout_s)
            if "joined" not in session.read_answer(CONNECT_TIMEOUT_S * 2):
                raise trouble.no_gate()
        finally:
            session.close()

    def push(self, entries: Sequence[Entry], *, compress: bool, bandwidth_kib_s: int) -> None:
        """Copy the files of `entries`, all below one `active/` directory, to the mother.

        Raises RoadError. That it returns is no proof of anything: only `commit`'s answer is.
        """
        command = [
            "rsync", "--files-from=-", "--from0", "--no-relative", "--partial-dir=.partial",
            f"--timeout={int(self._timeout_s)}", "-e", f"ssh -F {self._config_file}",
        ]  # fmt: skip
        if compress:
            command += ["--compress", "--compress-choice=zstd", "--compress-level=1"]
        if bandwidth_kib_s:
            command.append(f"--bwlimit={bandwidth_kib_s}")
        top = entries[0].path.parent.parent
        files = b"\0".join(os.fsencode(entry.path.relative_to(top)) for entry in entries)
        # A session of its own: a terminal's Ctrl-C is for us to act on, not for rsync.
        done = subprocess.run(
            [*command, f"{top}/", "mother:."], input=files, capture_output=True, check=False,
            start_new_session=True,
        )  # fmt: skip
        if done.returncode and done.returncode not in _SOME_FILES_FAILED:
            raise trouble.in_words(done.stderr, f"rsync ended with code {done.returncode}")

    def commit(self, entries: Sequence[Entry], sizes_bytes: Sequence[int]) -> list[Answer]:
        """Have the gate verify and sign for what was pushed; raises RoadError.

        After a RoadError it is unknown whether she signed: her receipts tell.
        """
        items = [
            {"name": entry.item.name, "lane": entry.lane, "size_bytes": size_bytes}
            for entry, size_bytes in zip(entries, sizes_bytes, strict=True)
        ]
        line = json.dumps({"items": items}, separators=(",", ":")).encode() + b"\n"
        verify_s = sum(sizes_bytes) / _SLOWEST_VERIFY_BYTES_S
        with self._committing:
            session = self._session
            if session is None:
                raise RoadError("the connection is closed")
            session.write(line, self._timeout_s)
            answer = session.read_answer(self._timeout_s + verify_s)
        try:
            return [Answer(str(a["name"]), str(a["kind"])) for a in answer["answers"]]
        except (KeyError, TypeError) as error:
            raise trouble.no_gate() from error

    def receipts(self, cursor: int) -> list[tuple[int, Receipt]]:
        """Her receipts from `cursor` on, each with the cursor behind it; raises RoadError.

        Not necessarily all of them: ask again from the last cursor until nothing comes.
        """
        try:
            return list(self._ask(cursor))
        except RoadError:
            asking, self._asking = self._asking, None
            if asking is not None:
                asking.close()
                if asking.exit_code == _EX_DATAERR:
                    raise ReceiptsLostError("her receipts end before the cursor") from None
            raise

    def _ask(self, cursor: int) -> Iterator[tuple[int, Receipt]]:
        asking = self._asking
        if asking is None or not asking.is_alive:
            asking = self._asking = self._begin(f"receipts --after {cursor}")
            if asking.read_answer(self._timeout_s).get("spool") != self.identity:
                raise RoadError("her spool is another one than a moment ago")
        else:
            asking.write(f"{cursor}\n".encode(), self._timeout_s)
        while not (line := asking.read_line(self._timeout_s)).startswith(b"{"):
            behind, tab, text = line.decode("utf-8", "replace").partition("\t")
            if tab and behind.isdecimal():
                with contextlib.suppress(DataError):
                    yield int(behind), Receipt.from_line(text)

    def _begin(self, request: str, *options: str) -> _Session:
        """Start `request` at the gate."""
        command = ["ssh", "-F", str(self._config_file), *options, "mother", request]
        return _Session(command, self._run_dir / f"stderr-{request.partition(' ')[0]}")


class _Session:
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
        """Whether it still runs."""
        return self._process.poll() is None

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


def _clock_offset(hers: object, began_s: float, ended_s: float) -> ClockOffset | None:
    """From the time that a greeting names, which was said between `began_s` and `ended_s` (ours).

    Taken as said in the middle, so the offset is wrong by half of that time at most. None for a
    greeting without a time: an older mother's.
    """
    try:
        hers_s = datetime.fromisoformat(str(hers)).timestamp()
    except (ValueError, OverflowError):
        return None
    return ClockOffset(hers_s - (began_s + ended_s) / 2, abs(ended_s - began_s) / 2)
