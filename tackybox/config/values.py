"""How one setting's value is read, whether it comes from the environment or from tackybox.yml.

Each reader takes the raw value (text from the environment; text, number, boolean or list from
YAML) and returns the typed value, or raises ValueError whose message says what is wrong, a
semicolon, and what to write instead. The caller puts the variable's or key's name in front.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

from tackybox.item import is_box_name

_PLACEHOLDER = re.compile(
    r"<.*>|\$\{.*\}|\*+|x{3,}|change[-_ ]?(me|this|it)|replace[-_ ]?me|placeholder|to-?do|fix-?me",
    re.IGNORECASE,
)
_PLACEHOLDER_PASSWORDS = frozenset(
    {"", "password", "passwd", "pass", "secret", "example", "your-password", "your_password"}
)


def is_placeholder(text: str) -> bool:
    """Whether `text` was copied from an example and never filled in."""
    return _PLACEHOLDER.fullmatch(text.strip()) is not None


def is_placeholder_password(text: str) -> bool:
    """Whether `text` is no real password: empty, or copied from an example."""
    return is_placeholder(text) or text.strip().lower() in _PLACEHOLDER_PASSWORDS


def text(raw: object) -> str:
    """A single line of text."""
    if not isinstance(raw, str):
        raise ValueError(f"{raw!r} is not text; put it in quotes")
    value = raw.strip()
    if is_placeholder(value):
        raise ValueError(f"{value!r} is a placeholder; write the real value")
    if not value.isprintable():
        raise ValueError(f"{value!r} holds a control character; write plain text on one line")
    return value


def joined(raw: object) -> str:
    """Text, where YAML may also give a list instead of parts joined with `;`."""
    if isinstance(raw, list) and raw:
        return ";".join(text(part) for part in raw)
    return text(raw)


def box_name(raw: object) -> str:
    """A box's name: it becomes part of file names on every box."""
    value = text(raw)
    if not is_box_name(value):
        raise ValueError(
            f"{value!r} is not a box name; write 1 to 32 lower-case letters, digits or hyphens, "
            "such as north-clinic"
        )
    return value


def ae_title(raw: object) -> str:
    """An application entity title: 1 to 16 characters, no backslash or control (PS3.5 6.2, AE)."""
    value = text(raw)
    if not 1 <= len(value) <= 16 or not value.isascii() or "\\" in value:
        raise ValueError(
            f"{value!r} is not an AE title; write 1 to 16 ASCII characters without backslash"
        )
    return value


def directory(raw: object) -> Path:
    """An absolute path."""
    value = Path(text(raw))
    if not value.is_absolute():
        raise ValueError(f"{str(value)!r} is not an absolute path; write one that begins with /")
    return value


def bind_address(raw: object) -> str:
    """The local address to listen on."""
    value = text(raw)
    try:
        return str(ip_address(value))
    except ValueError:
        raise ValueError(
            f"{value!r} is not an IP address; write 0.0.0.0 (every IPv4), :: or one of this "
            "machine's addresses"
        ) from None


def flag(raw: object) -> bool:
    """Yes or no."""
    if isinstance(raw, bool):
        return raw
    known = {"true": True, "yes": True, "on": True, "1": True}
    known |= {"false": False, "no": False, "off": False, "0": False}
    if str(raw).strip().lower() not in known:
        raise ValueError(f"{raw!r} is neither yes nor no; write true or false")
    return known[str(raw).strip().lower()]


def whole(minimum: int, maximum: int) -> Callable[[object], int]:
    """A reader of whole numbers within the bounds, both included."""

    def read(raw: object) -> int:
        digits = raw.strip() if isinstance(raw, str) else str(raw)
        wrong = isinstance(raw, bool) or not re.fullmatch(r"-?[0-9]{1,18}", digits)
        if wrong or not minimum <= int(digits) <= maximum:
            raise ValueError(
                f"{raw!r} is out of range; write a whole number from {minimum} to {maximum}"
            )
        return int(digits)

    return read


def seconds(minimum: float, maximum: float) -> Callable[[object], float]:
    """A reader of durations in seconds within the bounds, both included."""

    def read(raw: object) -> float:
        digits = raw.strip() if isinstance(raw, str) else str(raw)
        wrong = isinstance(raw, bool) or not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,6})?", digits)
        if wrong or not minimum <= float(digits) <= maximum:
            raise ValueError(f"{raw!r} is out of range; write seconds from {minimum} to {maximum}")
        return float(digits)

    return read


def choice(*allowed: str) -> Callable[[object], str]:
    """A reader of one word out of `allowed`."""

    def read(raw: object) -> str:
        value = text(raw).lower()
        if value not in allowed:
            raise ValueError(f"{value!r} is not known; write one of {', '.join(allowed)}")
        return value

    return read


port = whole(1, 65535)
