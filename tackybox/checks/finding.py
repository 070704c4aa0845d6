"""What came of one try."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Level(StrEnum):
    """How a try went."""

    PASS = "pass"  # noqa: S105 - not a password
    WARNING = "warning"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """About what, what was seen, and what to do about it; `details` are for programs."""

    level: Level
    subject: str
    seen: str
    remedy: str = ""
    details: dict[str, Any] = field(default_factory=dict)


def reason(error: OSError) -> str:
    """Why something can't be reached or read, in words."""
    if isinstance(error, socket.gaierror):
        return "its name can't be resolved (DNS)"
    if isinstance(error, TimeoutError):
        return "it does not answer"
    return error.strerror or type(error).__name__
