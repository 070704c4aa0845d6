"""Waiting for something that another process does."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

from tackybox.demo.stack import LOOPBACK


def wait_until(
    condition: Callable[[], object], what: str, timeout_s: float = 120.0, step_s: float = 0.02
) -> None:
    """Wait for `condition`; raises TimeoutError, naming `what`, if it does not come."""
    until_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > until_s:
            raise TimeoutError(f"not after {timeout_s:.0f} s: {what}")
        time.sleep(step_s)


def listens(port: int) -> bool:
    """Whether something takes connections at `port` on loopback."""
    with socket.socket() as sock:
        return sock.connect_ex((LOOPBACK, port)) == 0
