"""The inbox: daughters' pushes in through sshd, verified items in the mother's spool out."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
from functools import partial
from pathlib import Path

from mother.inbox import sessions, sshd
from mother.inbox.commit import Commit
from mysql_utilities.recorder import Recorder
from tackybox import logs, service
from tackybox.config import MotherConfig, load_mother
from tackybox.errors import ConfigError, DataError, UnavailableError
from tackybox.roster import Roster
from tackybox.spool import Landing, ReceiptLog, Spool
from tackybox.spool.durable import names

_KEYS_INTERVAL_S = 1.0
_GRACE_S = 10.0


def run() -> int:
    """Keep sshd running until told to stop; keys are let in and shut out as their files change."""
    config = load_mother()
    logs.setup(config.name, "inbox", config.log_level)
    log = logs.get("inbox")
    stop = service.on_signals()
    _finish_commits(Spool.open(config.spool, "mother"), config.name, log)
    roster = Roster(config.daughters, config.enrolments)
    with tempfile.TemporaryDirectory(prefix="tackybox-inbox-") as directory:
        run_dir = Path(directory)
        command = sshd.prepare(config, run_dir)
        keys = roster.state()
        _admit(roster, config, run_dir)
        # A session of its own, so that a terminal's Ctrl-C reaches us first, and us only; and a
        # listener that outlived us would keep the port from our successor.
        process = subprocess.Popen(
            command,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=partial(service.die_with_parent, os.getpid()),  # noqa: PLW1509 - no thread runs yet
        )
        _copy_gate_lines(run_dir / "log")
        _log_lines(process, log)
        log.info("listening", port=config.ssh_port)
        while not stop.wait(_KEYS_INTERVAL_S):
            if process.poll() is not None:
                raise UnavailableError(
                    f"TACKYBOX_SSH_PORT: sshd ended with code {process.returncode}; "
                    f"is port {config.ssh_port} in use? its last words are in the log"
                )
            with contextlib.suppress(ConfigError):  # sshd heeds the time anyhow
                roster.forget_expired()
            if keys != (keys := roster.state()):
                log.info("keys read again", count=_admit(roster, config, run_dir))
        _finish(process)
        log.info("stopped")
    return 0


def _finish_commits(spool: Spool, box: str, log: logs.Log) -> None:
    """Sign for and let go on what commits had taken when they were killed or the power went.

    A daughter's next commit would do it, but one who was told "landed" may have nothing to send
    any more, or never come again. Whether her key counts now is not asked: it did when she did.
    """
    with Recorder(spool.journal, box) as recorder:
        for name in sorted(names(spool.root / "landing")):
            landing, receipts = Landing(spool.root, name), ReceiptLog(spool.root, name)
            commit = Commit(
                name, landing, receipts, recorder, check=lambda: None, ring=spool.bell.ring
            )
            try:
                commit.finish_left_over()
            except (OSError, DataError) as error:  # her next commit tries again
                log.error("a commit can't be finished", daughter=name, exc=error)


def _admit(roster: Roster, config: MotherConfig, run_dir: Path) -> int:
    """Let in whom the roster has, end what runs for others; how many keys are let in."""
    known = roster.known()
    sshd.write_authorized_keys(known, roster.invited(), run_dir)
    keys = {(one.name, one.key.fingerprint) for one in known if one.key is not None}
    for name in sorted(sessions.end_all_but(keys, config.daughters)):
        logs.get("inbox").warning("session ended", daughter=name)
    return len(keys)


def _finish(process: subprocess.Popen[str]) -> None:
    """End the listener; sessions in hand end by themselves, their commits are whole."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _copy_gate_lines(fifo: Path) -> None:
    """Each gate's log lines, whole, to our stdout: a write below PIPE_BUF is atomic."""
    fd = os.open(fifo, os.O_RDWR)

    def copy() -> None:
        while data := os.read(fd, 65536):
            os.write(1, data)

    threading.Thread(target=copy, daemon=True, name="gate lines").start()


def _log_lines(process: subprocess.Popen[str], log: logs.Log) -> None:
    """sshd's own words as records: who came, with which key, and why one was turned away."""

    def copy() -> None:
        for line in process.stderr or ():
            log.info("sshd", detail=line.strip())

    threading.Thread(target=copy, daemon=True, name="sshd lines").start()


if __name__ == "__main__":
    sys.exit(service.main(run))
