"""Logs: one JSON line per record, nothing of a patient."""

import ast
import errno
import json
import logging
import os
import sys
import threading
import warnings
from pathlib import Path

import pytest

from tackybox import logs
from tackybox.errors import DataError
from tackybox.spool import Lane

ROOT = Path(__file__).parents[2]
SECRET = "DOE^JANE"


@pytest.fixture
def written(tmp_path):
    """Sends logs to a file; a function that gives the records written so far."""
    path = tmp_path / "log"
    saved = logging.getLogger().handlers[:], logging.getLogger().level, logging.raiseExceptions
    hooks = threading.excepthook, warnings.filters[:]
    excepthook = sys.excepthook
    with path.open("wb") as file:
        logs.setup("north", "receiver", "info", file.fileno())
        yield lambda: [json.loads(line) for line in path.read_text().splitlines()]
    logging.getLogger().handlers[:], level, logging.raiseExceptions = saved
    logging.getLogger().setLevel(level)
    threading.excepthook, warnings.filters[:] = hooks
    sys.excepthook = excepthook


def raised(error):
    try:
        raise error
    except type(error) as caught:
        return caught


def test_a_record_is_one_line_with_its_fields(written):
    log = logs.get("scp")
    log.info("accepted", item="i1", size_bytes=12, lane=Lane.HIGH, path=Path("/spool"))
    log.debug("not wanted")
    (record,) = written()
    assert record.pop("at").endswith("Z")
    assert record == {
        "level": "info",
        "box": "north",
        "part": "receiver",
        "logger": "scp",
        "event": "accepted",
        "item": "i1",
        "size_bytes": 12,
        "lane": "high",
        "path": "/spool",
    }


def test_a_field_that_is_not_on_the_list_is_withheld(written):
    logs.get("scp").info("accepted", patient_name=SECRET, item="i1")
    (record,) = written()
    assert record["withheld"] == ["patient_name"]
    assert SECRET not in json.dumps(record)


def test_a_record_is_the_same_beside_another_handler(written):
    log = logs.get("scp")
    other = logging.NullHandler()
    for with_other in (False, True):
        if with_other:
            logging.getLogger().addHandler(other)
        log.error("failed", exc=raised(DataError("no")), item="i1", patient_name=SECRET)
        logging.getLogger().removeHandler(other)
    direct, through_logging = written()
    assert direct.pop("at") <= through_logging.pop("at")
    assert direct == through_logging
    assert direct["withheld"] == ["patient_name"]


def test_an_exception_is_its_class_and_place(written):
    log = logs.get("scp")
    log.error("failed", exc=raised(ValueError(f"invalid value {SECRET}")))
    log.error("failed", exc=raised(DataError("the digest differs")))
    log.error("failed", exc=raised(OSError(errno.ENOSPC, SECRET, SECRET)))
    ours = [(record["error"], record.get("error_detail")) for record in written()]
    assert ours == [
        ("ValueError", None),
        ("DataError", "the digest differs"),
        ("OSError", "ENOSPC No space left on device"),
    ]
    assert all(record["raised_at"].startswith("tackybox/test_logs.py:") for record in written())
    assert SECRET not in json.dumps(written())


def test_what_libraries_say_is_not_repeated(written, capfd):
    for name in ("pynetdicom.acse", "pydicom", "watchdog", "something.else"):
        logging.getLogger(name).error("value %s is bad", SECRET)
        logging.getLogger(name).info("value %s is good", SECRET)
    try:
        raise ValueError(SECRET)
    except ValueError:
        logging.getLogger("pynetdicom.events").exception(SECRET)
    warnings.warn(SECRET, stacklevel=1)
    assert {record["event"] for record in written()} == {"a library spoke"}
    assert written()[-1]["error"] == "ValueError"
    assert SECRET not in json.dumps(written())
    assert SECRET not in "".join(capfd.readouterr())


def test_the_journal_logs_in_its_own_words(written):
    logging.getLogger("mysql_utilities.drain").error("journal: %d unreadable line(s)", 3)
    assert written()[0]["event"] == "journal: 3 unreadable line(s)"


def test_an_exception_in_a_thread_is_a_record(written, capfd):
    def fail():
        raise ValueError(SECRET)

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    assert written()[0]["error"] == "ValueError"
    assert SECRET not in "".join(capfd.readouterr())


def test_a_log_that_nobody_reads_stops_nothing(written):
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    logs.setup("north", "receiver", "info", write_fd)
    logs.get("scp").info("accepted")
    os.close(write_fd)
    logs.get("scp").info("accepted")


def calls_of_log():
    for room in ("tackybox", "daughter", "mother"):
        for path in sorted((ROOT / room).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Attribute)
                    and node.func.attr in ("debug", "info", "warning", "error")
                    and ast.unparse(node.func.value).lower().strip("_").endswith("log")
                ):
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", node


def test_every_call_in_the_house_logs_constant_words_and_listed_fields():
    calls = dict(calls_of_log())
    assert calls
    for place, call in calls.items():
        assert isinstance(call.args[0], ast.Constant), f"{place}: the event is not constant text"
        named = {keyword.arg for keyword in call.keywords if keyword.arg}
        assert named <= logs.FIELDS | {"exc"}, f"{place}: {named - logs.FIELDS} may not be logged"
