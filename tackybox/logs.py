"""Structured logs: one JSON line per record, to stdout, without patient data.

    logs.setup(config.name, "receiver", config.log_level)        once, at the start of a process
    log = logs.get(__name__)
    log.info("accepted", item=item.id, size_bytes=size_bytes)
    log.error("push failed", exc=error, outlet=outlet.name)

Promises: a field whose name is not in FIELDS is not written (its name is, under `withheld`); an
exception is written as its class and where it was raised, with its message only if it is one of
ours or the operating system's; what libraries log or warn of is written as the place it came from,
never as text, because pydicom and pynetdicom quote values. A line never raises and never costs a
daemon its life. Not promised: that an event's text holds no patient data; write constants.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Any

from tackybox.errors import TackyboxError

FIELDS = frozenset(
    {
        # which item, and where it is
        *("item", "lane", "outlet", "destination", "peer", "mother", "archive", "daughter"),
        *("attempts", "due_s", "reason", "kind", "state", "digest"),
        # who speaks
        *("aet", "calling_aet", "called_aet", "address", "host", "port", "user", "version"),
        # what was said
        *(
            "status",
            "disposition",
            "sop_class_uid",
            "transfer_syntax_uid",
            "to_transfer_syntax_uid",
        ),
        *("contexts", "source", "result", "pdu_type", "command", "message_id"),
        # how much, how long
        *("items", "count", "size_bytes", "duration_s", "wait_s", "rate_kib_s", "batches"),
        *("free_bytes", "free_mib", "free_inodes", "events", "associations", "waiting"),
        # processes and what they were told
        *("child", "pid", "exit_code", "signal", "ran_s", "restart_in_s", "grace_s"),
        *("setting", "path", "identity", "cursor", "fingerprint", "detail"),
    }
)
"""Names that may be logged. `detail` is for our own constant words, `path` for paths of ours."""

_LONGEST_TEXT = 300
_LIBRARIES = (
    "pynetdicom",
    "pydicom",
    "watchdog",
    "py.warnings",
    "pymysql",
    "concurrent",
    "asyncio",
)
_OURS = "tackybox"
_JOURNAL = "mysql_utilities"  # imports nothing of ours; its lines hold no value of an event
_ATTRIBUTE = "tackybox_fields"
_to_json = json.JSONEncoder(ensure_ascii=False, default=str).encode


class Log:
    """Writes records under one name; get it with `get`."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._logger = logging.getLogger(f"{_OURS}.{name}")

    def debug(self, event: str, **fields: object) -> None:
        """What only somebody who looks for a fault wants to read."""
        self._write(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: object) -> None:
        """A step that went as it should."""
        self._write(logging.INFO, event, fields)

    def warning(self, event: str, *, exc: BaseException | None = None, **fields: object) -> None:
        """Something that mends itself, or that a person should know of."""
        self._write(logging.WARNING, event, fields, exc)

    def error(self, event: str, *, exc: BaseException | None = None, **fields: object) -> None:
        """Something that a person must mend."""
        self._write(logging.ERROR, event, fields, exc)

    def _write(
        self,
        level: int,
        event: str,
        fields: Mapping[str, object],
        exc: BaseException | None = None,
    ) -> None:
        if not self._logger.isEnabledFor(level):
            return
        shown = {key: _plain(value) for key, value in fields.items() if key in FIELDS}
        if len(shown) < len(fields):
            shown["withheld"] = sorted(fields.keys() - FIELDS)
        if exc is not None:
            shown |= describe_exception(exc)
        handlers = logging.root.handlers
        if len(handlers) == 1 and isinstance(handlers[0], _JsonLines):
            # There is a line for each image: what logging does on the way there costs far more.
            handlers[0].write(time.time(), level, self._name, event, shown)
        else:
            self._logger.log(level, event, extra={_ATTRIBUTE: shown})


def get(name: str) -> Log:
    """The log of the module named `name`."""
    return Log(name)


def setup(box: str, part: str, level: str = "info", fd: int = 1) -> None:
    """Send this process's records to the file descriptor `fd` as lines of JSON.

    `level` is debug, info, warning or error. May be called again, e.g. in a forked child with the
    child's own `part`. Uncaught exceptions, in threads too, become records without their message.
    """
    logging.raiseExceptions = False
    handler = _JsonLines(box, part, fd)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _LIBRARIES:
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
        library.setLevel(logging.WARNING)
    warnings.simplefilter("ignore")
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread


def describe_exception(exc: BaseException) -> dict[str, str]:
    """What may be written of `exc`: class, place, and the message only where it is harmless."""
    found = {"error": type(exc).__name__}
    frames = traceback.extract_tb(exc.__traceback__)
    if frames:
        found["raised_at"] = _place(frames[-1].filename, frames[-1].lineno)
    if isinstance(exc, TackyboxError):
        found["error_detail"] = str(exc)[:_LONGEST_TEXT]
    elif isinstance(exc, OSError) and exc.errno:
        # not exc.strerror: that may be the text of whoever raised it
        code = errno.errorcode.get(exc.errno, str(exc.errno))
        found["error_detail"] = f"{code} {os.strerror(exc.errno)}"
    return found


class _JsonLines(logging.Handler):
    """One write(2) per record: forked children that share the descriptor don't mix their lines."""

    def __init__(self, box: str, part: str, fd: int) -> None:
        super().__init__()
        self._head = {"box": box, "part": part}
        self._fd = fd

    def emit(self, record: logging.LogRecord) -> None:
        fields = getattr(record, _ATTRIBUTE, None)
        name, event = record.name.removeprefix(f"{_OURS}."), str(record.msg)
        try:
            if fields is None and record.name.startswith(_JOURNAL):
                event, fields = record.getMessage()[:_LONGEST_TEXT], {}
            elif fields is None:
                event, fields = "a library spoke", _foreign(record)
        except Exception:
            self.handleError(record)
            return
        self.write(record.created, record.levelno, name, event, fields)

    def write(
        self, at_s: float, level: int, name: str, event: str, fields: Mapping[str, Any]
    ) -> None:
        """Write one line; needs no lock."""
        at = datetime.fromtimestamp(at_s, UTC).isoformat("T", "microseconds")
        entry = {
            "at": at.replace("+00:00", "Z"),
            "level": logging.getLevelName(level).lower(),
            **self._head,
            "logger": name,
            "event": event,
            **fields,
        }
        try:
            left = f"{_to_json(entry)}\n".encode("utf-8", "backslashreplace")
            while left:
                left = left[os.write(self._fd, left) :]
        except Exception:  # noqa: S110 - a log that nobody reads any more must not stop a relay
            pass


def _foreign(record: logging.LogRecord) -> dict[str, Any]:
    """Of a record that a library wrote: where, never what."""
    entry: dict[str, Any] = {"raised_at": _place(record.pathname, record.lineno)}
    if record.exc_info and record.exc_info[1]:
        entry |= describe_exception(record.exc_info[1])
    return entry


def _plain(value: object) -> object:
    if type(value) is str and len(value) <= _LONGEST_TEXT:
        return value
    if isinstance(value, Enum):
        value = value.value
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(part) for part in list(value)[:20]]
    if isinstance(value, BaseException):
        return type(value).__name__
    text = str(value)
    return text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + "…"


def _place(filename: str, line: int | None) -> str:
    return f"{'/'.join(Path(filename).parts[-2:])}:{line}"


def _uncaught(kind: type[BaseException], exc: BaseException, trace: TracebackType | None) -> None:
    del kind, trace
    get("process").error("uncaught exception", exc=exc)


def _uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
        get("thread").error("uncaught exception in a thread", exc=args.exc_value)
