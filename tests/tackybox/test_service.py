"""Signals, supervision and back-off, with real processes."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tackybox import service
from tackybox.errors import ConfigError, TackyboxError
from tackybox.pulse import Pulse
from tests.peers import wait_until

PREAMBLE = r"""
import os, signal, sys, time
from tackybox import logs, service
from tackybox.errors import ConfigError
logs.setup("box", "part")
log = logs.get("test")
def good(stop):
    os.write(1, b"good %d\n" % os.getpid())
    while not stop.wait(60): pass
def deaf(stop):
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    os.write(1, b"deaf %d\n" % os.getpid())
    while True: time.sleep(60)
def bad(stop):
    raise ConfigError("TACKYBOX_X: is wrong; write y")
def worse(stop):
    raise ValueError("DOE^JANE")
def supervise(grace_s=20.0, **children):
    stop = service.on_signals()
    sys.exit(service.main(lambda: service.supervise(children, stop, log, grace_s=grace_s)))
"""


@pytest.fixture
def start():
    """Starts a Python program after PREAMBLE; it is killed at the end if need be."""
    started = []

    def start_one(program):
        process = subprocess.Popen(
            [sys.executable, "-c", PREAMBLE + program],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start_one
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def pid_of(process, word):
    """The process id in the next line that begins with `word`."""
    for line in process.stdout:
        if line.startswith(word):
            return int(line.split()[1])
    raise AssertionError(f"{word} was never said")


def record_of(process, event):
    """The next log record with this event."""
    for line in process.stdout:
        if line.startswith("{") and json.loads(line)["event"] == event:
            return json.loads(line)
    raise AssertionError(f"{event} was never logged")


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until_gone(pid):
    while is_running(pid):
        time.sleep(0.01)


def test_a_killed_child_is_started_again_and_why_is_logged(start):
    process = start("supervise(one=good)")
    first = pid_of(process, "good")
    os.kill(first, signal.SIGKILL)
    record = record_of(process, "child died")
    assert (record["child"], record["pid"], record["signal"]) == ("one", first, "SIGKILL")
    assert 0 <= record["restart_in_s"] <= 1
    second = pid_of(process, "good")
    assert second != first
    process.terminate()
    assert process.wait(30) == 0
    assert not is_running(second)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all_children_and_is_success(start, number):
    process = start("supervise(one=good, two=good, three=good)")
    pids = [pid_of(process, "good") for _ in range(3)]
    process.send_signal(number)
    assert process.wait(30) == 0
    assert not any(map(is_running, pids))
    assert process.stderr.read() == ""


def test_a_deaf_child_is_killed_after_the_grace(start):
    process = start("supervise(grace_s=0.2, one=deaf)")
    pid = pid_of(process, "deaf")
    process.terminate()
    assert record_of(process, "child killed")["child"] == "one"
    assert process.wait(30) == 0
    assert not is_running(pid)


def test_children_die_with_a_killed_supervisor(start):
    process = start("supervise(one=good, two=deaf)")
    pids = {pid_of(process, "good")}
    process.kill()
    process.wait()
    for line in process.stdout:
        if line.startswith("deaf"):
            pids.add(int(line.split()[1]))
    for pid in pids:
        wait_until_gone(pid)


def test_an_error_of_a_child_is_its_exit_code_and_holds_no_message(start):
    process = start("supervise(one=bad, two=worse)")
    died = {}
    while len(died) < 2:
        record = record_of(process, "child died")
        died[record["child"]] = record["exit_code"]
    assert died == {"one": 78, "two": 70}
    process.terminate()
    output, errors = process.communicate(timeout=30)
    assert "DOE" not in output + errors


def test_a_stop_while_a_child_waits_for_its_restart(start):
    process = start("supervise(one=bad)")
    record_of(process, "child died")
    process.terminate()
    assert process.wait(30) == 0


def test_a_signal_wakes_a_waiting_main_thread_even_if_another_thread_got_it(start):
    process = start(
        """
import threading
stop = service.on_signals()
def other():
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    time.sleep(1e6)
threading.Thread(target=other, daemon=True).start()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
print("ready", os.getpid(), flush=True)
while not stop.wait(1e6): pass
os._exit(0)
"""
    )
    pid_of(process, "ready")
    process.terminate()
    assert process.wait(30) == 0


def test_a_stop_is_seen_by_every_thread():
    stop = service.Stop()
    assert not stop.wait(0)
    threads = [threading.Thread(target=stop.wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    stop.set()
    for thread in threads:
        thread.join()
    assert stop.is_set()
    assert stop.wait(1e6)
    stop.close()


def fails_with(error):
    def run():
        raise error

    return run


@pytest.mark.parametrize(
    ("run", "code", "line"),
    [
        (lambda: None, 0, ""),
        (lambda: 3, 3, ""),
        (fails_with(ConfigError("X: is\nwrong")), 78, "tackybox: X: is wrong\n"),
        (fails_with(TackyboxError("no")), 1, "tackybox: no\n"),
        (fails_with(KeyboardInterrupt()), 130, ""),
    ],
)
def test_an_end_is_an_exit_code_and_at_most_a_line(capsys, run, code, line):
    assert service.main(run) == code
    assert capsys.readouterr() == ("", line)


def test_an_internal_error_tells_the_place_and_no_value(capsys):
    assert service.main(fails_with(ValueError("DOE^JANE"))) == 70
    error = capsys.readouterr().err
    assert error.startswith("tackybox: internal error: ValueError at tackybox/test_service.py:")
    assert "DOE" not in error


def test_a_reader_that_goes_away_is_quiet():
    program = "import sys\nfrom tackybox import service\n"
    program += "def run():\n  while True: print('x' * 1000)\nsys.exit(service.main(run))"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 141


@given(st.floats(0.001, 10), st.floats(0.001, 1000), st.integers(1, 100))
def test_backoff_grows_to_its_cap_and_starts_over(first_s, cap_s, tries):
    backoff = service.Backoff(first_s, cap_s)
    for number in range(tries):
        assert 0 <= backoff.next() <= min(cap_s, first_s * 2**number)
    backoff.reset()
    assert 0 <= backoff.next() <= min(cap_s, first_s)


def test_children_that_belong_together_end_together(start):
    program = """
children = {"good": good, "deaf": deaf, "short": lambda stop: stop.wait(1.0)}
sys.exit(service.supervise(
    children, service.on_signals(), log, grace_s=0.5, together=True))
"""
    process = start(program)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == service.EX_SOFTWARE
    pids = [int(line.split()[1]) for line in out.splitlines() if line[:4] in ("good", "deaf")]
    assert len(pids) == 2
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_children_show_signs_of_life_while_their_loops_turn(start, tmp_path):
    program = f"""
from pathlib import Path
from tackybox.pulse import Pulse
service._BEAT_S = 0.05
pulse = Pulse(Path({str(tmp_path)!r}), "part")
def turning(stop):
    while not stop.wait(0.02): pass
def hanging(stop):
    time.sleep(60)
children = {{"turning": turning, "hanging": hanging, "dying": bad}}
pulse.expect(children)
sys.exit(service.supervise(children, service.on_signals(), log, pulse=pulse, grace_s=0.5))
"""
    process = start(program)
    pulse = Pulse(tmp_path, "part")
    wait_until(lambda: pulse.silent() == ["dying", "hanging"], "the turning one beats")
    process.terminate()
    assert process.wait(20) == 0
    assert "turning" in pulse.silent()  # it has ended
