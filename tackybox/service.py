"""What every daemon needs: to be told to stop, to keep its children alive, to say why it ended.

    stop = service.on_signals()
    sys.exit(service.main(run))
    return service.supervise({"archive-1": work_1, "archive-2": work_2}, stop, log)

Signal handlers only note; the loops act. Promises of `supervise`: a child that ends is started
again after a growing, jittered wait and why it ended is in the log; when it returns, no child is
left; a child never outlives a supervisor that was killed (Linux); a child whose main loop asks its
Stop shows signs of life by that. Not promised: that a child
finishes what it has in hand within `grace_s`: after that it is killed, and the spool must bear it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NoReturn

from tackybox import logs
from tackybox.errors import TackyboxError
from tackybox.pulse import Pulse

EX_SOFTWARE = 70
EX_INTERRUPTED = 130
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_SUPERVISED = (*_STOP_SIGNALS, signal.SIGCHLD)
_PR_SET_PDEATHSIG = 1  # prctl(2)
_FIRST_RESTART_S = 1.0
_RESTART_CAP_S = 30.0
_HEALTHY_AFTER_S = 60.0
_BEAT_S = 5.0
_LIBC = ctypes.CDLL(None, use_errno=True)


class Stop:
    """Whether this process was told to stop. Any thread may ask or wait.

    `beat` is called every few seconds while the main thread asks: it is how a loop shows that it
    turns.
    """

    def __init__(self, beat: Callable[[], None] | None = None) -> None:
        self._read_fd, self._write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._is_set = False
        self._beat = beat
        self._beat_at_s = time.monotonic() + _BEAT_S

    def set(self) -> None:
        """Tell it to stop, and wake every waiter."""
        self._is_set = True
        with contextlib.suppress(BlockingIOError):  # full: the waiters are awake anyhow
            os.write(self._write_fd, b"\0")

    def is_set(self) -> bool:
        """Whether it was told."""
        self._turn()
        return self._is_set

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until told, at most `timeout_s` seconds; whether it was.

        May return False early, when another signal that this process handles has come.
        """
        if self.is_set():
            return True
        poll = select.poll()
        poll.register(self._read_fd, select.POLLIN)
        if (
            poll.poll(None if timeout_s is None else max(0.0, timeout_s) * 1000)
            and not self._is_set
        ):
            with contextlib.suppress(BlockingIOError):
                # The C handler writes the signal's number, maybe before the Python handler has run.
                if any(number in _STOP_SIGNALS for number in os.read(self._read_fd, 4096)):
                    self.set()
        return self._is_set

    def _turn(self) -> None:
        if (
            self._beat is not None
            and time.monotonic() >= self._beat_at_s
            and threading.current_thread() is threading.main_thread()
        ):
            self._beat_at_s = time.monotonic() + _BEAT_S
            self._beat()

    def fileno(self) -> int:
        """A descriptor that is readable once told; for select and poll beside others."""
        return self._read_fd

    def wake_on_signals(self) -> None:
        """Have the C level write here whatever handled signal comes, in whichever thread."""
        signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)

    def close(self) -> None:
        """Free the descriptors."""
        os.close(self._read_fd)
        os.close(self._write_fd)


def on_signals(beat: Callable[[], None] | None = None) -> Stop:
    """A Stop that SIGTERM and SIGINT set. Only from the main thread."""
    stop = Stop(beat)
    stop.wake_on_signals()
    for number in _STOP_SIGNALS:
        signal.signal(number, lambda *_: stop.set())
    return stop


def main(run: Callable[[], int | None]) -> int:
    """Run a daemon or a command; its exit code.

    A TackyboxError is one line on stderr and its class's code. Ctrl-C is 130. Anything else is one
    line with the class and the place, whose message may hold patient data, and 70 (EX_SOFTWARE).
    """
    try:
        return run() or 0
    except TackyboxError as error:
        _say(" ".join(str(error).split()) or type(error).__doc__ or type(error).__name__)
        return error.exit_code
    except KeyboardInterrupt:
        return EX_INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone; nothing more, also not at the interpreter's exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except Exception as error:
        found = logs.describe_exception(error)
        place, detail = found.get("raised_at", "?"), found.get("error_detail", "")
        _say(f"internal error: {found['error']} at {place} {detail}".rstrip())
        return EX_SOFTWARE


class Backoff:
    """Growing waits with full jitter: the n-th is uniform in [0, min(cap_s, first_s * 2^n)] s."""

    def __init__(self, first_s: float, cap_s: float) -> None:
        self._first_s = first_s
        self._cap_s = cap_s
        self._tries = 0

    def next(self) -> float:
        """How long to wait before the next try, in seconds."""
        ceiling_s = min(self._cap_s, self._first_s * 2.0 ** min(self._tries, 64))
        self._tries += 1
        return random.uniform(0.0, ceiling_s)  # noqa: S311 - jitter, not a secret

    def reset(self) -> None:
        """Begin again with short waits: it works."""
        self._tries = 0


@dataclass(slots=True)
class _Child:
    name: str
    work: Callable[[Stop], None]
    backoff: Backoff
    pid: int | None = None
    started_s: float = 0.0
    start_at_s: float = 0.0


@dataclass(slots=True)
class _Supervisor:
    children: list[_Child]
    stop: Stop
    log: logs.Log
    grace_s: float
    pulse: Pulse | None
    together: bool
    is_ending: bool = False
    parent_pid: int = field(default_factory=os.getpid)

    def run(self) -> None:
        try:
            while not self.stop.is_set():
                now_s = time.monotonic()
                for child in self.children:
                    if child.pid is None and child.start_at_s <= now_s:
                        self.start(child)
                self.stop.wait(self.until_next_start_s())
                self.reap()
                if self.together and len(self.alive()) < len(self.children):
                    return
        finally:
            self.end()

    def until_next_start_s(self) -> float | None:
        due = [child.start_at_s for child in self.children if child.pid is None]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def start(self, child: _Child) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        # Blocked, so that no signal reaches the child before it has handlers of its own.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SUPERVISED)
        try:
            pid = os.fork()
            if pid == 0:
                beat = partial(self.pulse.beat, child.name) if self.pulse is not None else None
                _become_child(child, self.parent_pid, self.stop, beat)
        except OSError as error:  # no memory or no process left: later
            child.start_at_s = time.monotonic() + child.backoff.next()
            self.log.error("child can't be started", child=child.name, exc=error)
            return
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SUPERVISED)
        child.pid, child.started_s = pid, time.monotonic()
        self.log.info("child started", child=child.name, pid=pid)

    def reap(self) -> None:
        for child in self.children:
            if child.pid is None:
                continue
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if pid:
                self.note_end(child, status)

    def note_end(self, child: _Child, status: int) -> None:
        ran_s = time.monotonic() - child.started_s
        fields: dict[str, Any] = {
            "child": child.name,
            "pid": child.pid,
            "ran_s": round(ran_s, 3),
        }
        code = os.waitstatus_to_exitcode(status)
        fields |= {"exit_code": code} if code >= 0 else {"signal": _signal_name(-code)}
        child.pid = None
        if self.pulse is not None:
            self.pulse.lost(child.name)
        if self.is_ending or self.stop.is_set():
            self.log.info("child ended", **fields)
            return
        if self.together:
            self.log.error("child died, and the others end with it", **fields)
            return
        if ran_s >= _HEALTHY_AFTER_S:
            child.backoff.reset()
        wait_s = child.backoff.next()
        child.start_at_s = time.monotonic() + wait_s
        self.log.error("child died", restart_in_s=round(wait_s, 3), **fields)

    def end(self) -> None:
        self.is_ending = True
        self.tell(signal.SIGTERM)
        until_s = time.monotonic() + self.grace_s
        while self.alive() and time.monotonic() < until_s:
            # The stop is set and its descriptor readable for ever: SIGCHLD is waited for instead.
            signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGCHLD,))
            self.reap()
            if self.alive():
                signal.sigtimedwait((signal.SIGCHLD,), max(0.0, until_s - time.monotonic()))
        for child in self.alive():
            self.log.warning("child killed", child=child.name, pid=child.pid, grace_s=self.grace_s)
        self.tell(signal.SIGKILL)
        for child in self.alive():
            self.note_end(child, os.waitpid(child.pid or 0, 0)[1])
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGCHLD,))

    def alive(self) -> list[_Child]:
        return [child for child in self.children if child.pid is not None]

    def tell(self, number: signal.Signals) -> None:
        for child in self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid or 0, number)


def supervise(
    children: Mapping[str, Callable[[Stop], None]],
    stop: Stop,
    log: logs.Log,
    *,
    grace_s: float = 25.0,
    pulse: Pulse | None = None,
    together: bool = False,
) -> int:
    """Keep one forked child per entry running until `stop`; then end them all and return 0.

    With `together` one that ends takes the others with it, and EX_SOFTWARE is returned: for
    children that can't be started again one by one.

    `stop` is `on_signals()`'s. Each child calls its function with a Stop of its own. A child that
    ends, by itself too, is started again after a wait that grows from 1 s to 30 s and is short
    again once a child has run for 60 s. At the end children get SIGTERM, and SIGKILL after
    `grace_s` seconds. Those that `pulse` expects show it that they live. Must be called from the
    main thread, before any other thread is started.
    """
    workers = [
        _Child(name, work, Backoff(_FIRST_RESTART_S, _RESTART_CAP_S))
        for name, work in children.items()
    ]
    before = signal.signal(signal.SIGCHLD, lambda *_: None)
    try:
        _Supervisor(workers, stop, log, grace_s, pulse, together).run()
    finally:
        signal.signal(signal.SIGCHLD, before)
    return 0 if stop.is_set() else EX_SOFTWARE


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when its parent, `parent_pid`, is gone; best effort."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:  # it went before we could ask
        os._exit(EX_SOFTWARE)


def _become_child(
    child: _Child, parent_pid: int, inherited: Stop, beat: Callable[[], None] | None
) -> NoReturn:
    code = EX_SOFTWARE
    log = logs.get("child")
    try:
        die_with_parent(parent_pid)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        stop = on_signals(beat)
        inherited.close()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SUPERVISED)
        child.work(stop)
        code = 0
    except TackyboxError as error:
        code = error.exit_code
        log.error("child can't go on", child=child.name, exc=error)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException as error:
        log.error("child failed", child=child.name, exc=error)
    finally:
        os._exit(code)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _say(line: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        print(f"tackybox: {line}", file=sys.stderr)
