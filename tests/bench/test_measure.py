"""CPU and memory of processes, on real ones."""

import subprocess
import sys

from bench.measure import births, descendants, kill_left_over, usage

BUSY = (
    "import subprocess, sys, time; held = bytearray(40 << 20); "
    "child = subprocess.Popen([sys.executable, '-c', 'import sys; sys.stdin.read()'], "
    "stdin=subprocess.PIPE); print(child.pid, flush=True); sum(range(3_000_000)); "
    "print('worked', flush=True); sys.stdin.read()"
)


def test_children_are_counted_and_left_overs_ended():
    with subprocess.Popen(
        [sys.executable, "-c", BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        assert process.stdout.readline() == b"worked\n"
        assert {process.pid, child} <= set(descendants(process.pid))
        used = usage(process.pid)
        assert used.cpu_s > 0
        assert used.peak_largest_bytes > 40 << 20
        assert used.peak_sum_bytes > used.peak_largest_bytes
        kill_left_over(births(process.pid))
        assert process.wait() != 0


def test_a_process_that_is_gone_uses_nothing():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert usage(process.pid).cpu_s == 0
