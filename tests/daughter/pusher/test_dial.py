"""The socket that ssh is given: connected, and without a queue of its own."""

from __future__ import annotations

import array
import socket
import subprocess
import sys

import pytest

from daughter.pusher import dial
from tackybox.demo.stack import LOOPBACK, free_port


def dialled(port: int, passed_to: socket.socket) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", "-S", dial.__file__, LOOPBACK, str(port), "10"],
        stdout=passed_to, stderr=subprocess.PIPE, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_a_connection_is_handed_over_that_queues_little() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, socket.create_server((LOOPBACK, 0)) as server:
        assert dialled(server.getsockname()[1], theirs).returncode == 0
        rights = array.array("i")
        _, ancillary, _, _ = ours.recvmsg(1, socket.CMSG_SPACE(rights.itemsize))
        rights.frombytes(ancillary[0][2])
        with socket.socket(fileno=rights[0]) as passed:
            tcp = socket.IPPROTO_TCP
            assert passed.getsockopt(tcp, dial._TCP_NOTSENT_LOWAT) == dial.NOT_SENT_BYTES
            assert passed.getsockopt(tcp, socket.TCP_NODELAY)
            accepted, _ = server.accept()
            with accepted:
                passed.sendall(b"ssh")
                assert accepted.recv(3) == b"ssh"


@pytest.mark.parametrize("port", [free_port()])
def test_why_there_is_none_is_said_in_words_that_are_known(port: int) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        done = dialled(port, theirs)
    assert done.returncode == 1
    assert "Connection refused" in done.stderr
