"""The road to one mother: the only door to rsync and ssh.

One ssh connection is kept open; it runs the gate's `commit` and is at the same time the master
that rsyncs, `receipts` and a second `commit`, for the high lane, are multiplexed over. It ends by
itself when this process dies, because its standard input closes. While it is open rsyncs stand by.
Nothing here decides what becomes of an item.

Every wait is bounded. RoadError says in a sentence for people why the road does not work.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from daughter.pusher import dial as dialing
from daughter.pusher import trouble
from daughter.pusher.group_commit import Answer, GroupCommit, Line
from daughter.pusher.session import Session
from daughter.pusher.standby import GOODBYE, READY, Standbys
from daughter.pusher.trouble import ReceiptsLostError, RoadError
from tackybox.config import DaughterConfig, MotherAddress
from tackybox.errors import DataError
from tackybox.spool import Entry, Lane, Receipt

CONNECT_TIMEOUT_S = 15.0
_PROTOCOL = 1
_EX_DATAERR = 65

_SSH_CONFIG = """\
Host mother
  HostName {host}
  Port {port}
  ProxyCommand {dial}
  ProxyUseFdpass yes
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


class Road:
    """A connection to `address` as `config` says; open it before anything else.

    Files are pushed from below `source`. `push` and `commit` may run in several threads at once.
    """

    def __init__(
        self, address: MotherAddress, config: DaughterConfig, source: Path | None = None
    ) -> None:
        self._source = source or Path(os.devnull)
        self.name = address.name
        self.identity = ""
        self._timeout_s = config.network_timeout_s
        self._compress = config.compress
        self._bandwidth_kib_s = -(-config.bandwidth_kib_s // config.parallel)
        self._run_dir = Path(tempfile.mkdtemp(prefix="tackybox-road-"))
        self._config_file = self._run_dir / "ssh_config"
        dial = shlex.join(
            [sys.executable, "-I", "-S", dialing.__file__, address.host, str(address.port),
             str(CONNECT_TIMEOUT_S)]
        )  # fmt: skip
        self._config_file.write_text(
            _SSH_CONFIG.format(
                host=address.host, port=address.port, user=address.user, key=config.ssh_key,
                known_hosts=config.known_hosts, run_dir=self._run_dir,
                connect_timeout_s=int(CONNECT_TIMEOUT_S), dial=dial.replace("%", "%%"),
            )
        )  # fmt: skip
        self._has_high_carrier = config.parallel > 1
        self._session: Session | None = None
        self._asking: Session | None = None
        self._urgent: Session | None = None
        self._commits: dict[Lane, GroupCommit] = {}
        self._standbys: Standbys | None = None
        self._greeted = False

    @property
    def is_open(self) -> bool:
        """Whether we were greeted and the connection stands, as far as is known without asking."""
        sessions = [one for one in (self._session, self._urgent) if one is not None]
        return self._greeted and bool(sessions) and all(one.is_alive for one in sessions)

    def open(self) -> None:
        """Connect and be greeted; raises RoadError. `identity` is then the mother's spool."""
        self.close()
        (self._run_dir / "control").unlink(missing_ok=True)
        self._session = self._begin("commit", "-o", "ControlMaster=yes")
        try:
            self.identity = self._greeted_by(self._session)
            commits = GroupCommit(self._session, self._timeout_s)
            self._commits = dict.fromkeys(Lane, commits)
            if self._has_high_carrier:
                self._urgent = self._begin("commit", label="urgent")
                if self._greeted_by(self._urgent) != self.identity:
                    raise trouble.another_spool()
                self._commits[Lane.HIGH] = GroupCommit(self._urgent, self._timeout_s)
            self._standbys = Standbys(self._rsync, compress=self._compress != "never")
            self._greeted = True
        except KeyError as error:
            self.close()
            raise trouble.no_gate() from error
        except RoadError:
            self.close()
            raise

    @staticmethod
    def _greeted_by(session: Session) -> str:
        """The identity of the spool behind `session`; raises RoadError, KeyError if it has none."""
        greeting = session.read_answer(CONNECT_TIMEOUT_S * 2)
        if greeting.get("protocol") != _PROTOCOL:
            raise RoadError("it speaks another version of the protocol; update the older box")
        return str(greeting["spool"])

    def close(self) -> None:
        """End the connection; what runs over it fails."""
        self._greeted = False
        self._commits = {}
        standbys, self._standbys = self._standbys, None
        if standbys is not None:
            standbys.close()
        asking, self._asking = self._asking, None
        urgent, self._urgent = self._urgent, None
        session, self._session = self._session, None
        for one in (asking, urgent, session):
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

    def stand_by(self) -> None:
        """Have rsyncs stand by, so that a push finds one; to be asked again now and then."""
        standbys = self._standbys
        if standbys is not None and self.is_open:
            standbys.refill()

    def push(self, entries: Callable[[], Sequence[Entry]], *, compress: bool, urgent: bool) -> bool:
        """Copy the files of `entries`, all below `source`, to the mother.

        They are asked for when everything is ready to send. Raises RoadError. That it returns is
        no proof of anything: only `commit`'s answer is. Returns whether they went compressed,
        which an urgent push leaves to what is ready.
        """
        standbys = self._standbys
        if standbys is None:
            raise RoadError("the connection is closed")

        def names() -> bytes:
            files = (os.fsencode(entry.path.relative_to(self._source)) for entry in entries())
            return b"".join(file + b"\0" for file in files)

        return standbys.push(names, compress=compress, urgent=urgent)

    def _rsync(self, compress: bool) -> list[str]:
        command = [
            "rsync", "--files-from=-", "--from0", "--no-relative", "--partial-dir=.partial",
            f"--timeout={int(self._timeout_s)}", READY[0], GOODBYE[0],
            "-e", f"ssh -F {self._config_file}",
        ]  # fmt: skip
        if compress:
            command += ["--compress", "--compress-choice=zstd", "--compress-level=1"]
        if self._bandwidth_kib_s:
            command.append(f"--bwlimit={self._bandwidth_kib_s}")
        return [*command, f"{self._source}/", "mother:."]

    def commit(self, entries: Sequence[Entry], sizes_bytes: Sequence[int]) -> Sequence[Answer]:
        """Have the gate verify and sign for what was pushed, all of one lane; raises RoadError.

        There may be answers for other carriers' items among hers.

        After a RoadError it is unknown whether she signed: her receipts tell.
        """
        commits = self._commits.get(entries[0].lane)
        if commits is None:
            raise RoadError("the connection is closed")
        return commits.commit(
            [
                Line(entry.item.name, entry.lane, size_bytes)
                for entry, size_bytes in zip(entries, sizes_bytes, strict=True)
            ]
        )

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
                raise trouble.another_spool()
        else:
            asking.write(f"{cursor}\n".encode(), self._timeout_s)
        while not (line := asking.read_line(self._timeout_s)).startswith(b"{"):
            behind, tab, text = line.decode("utf-8", "replace").partition("\t")
            if tab and behind.isdecimal():
                with contextlib.suppress(DataError):
                    yield int(behind), Receipt.from_line(text)

    def _begin(self, request: str, *options: str, label: str = "") -> Session:
        """Start `request` at the gate; `label` names what it says if it is one of several."""
        command = ["ssh", "-F", str(self._config_file), *options, "mother", request]
        return Session(command, self._run_dir / f"stderr-{label or request.partition(' ')[0]}")


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
