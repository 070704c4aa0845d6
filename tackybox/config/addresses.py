"""Where a box delivers: mothers and archives, and the grammar that names them.

    groups       = group *( ";" group )                   every group gets every item
    group        = address *( "|" address )               the first that works gets it
                 / mother 1*( "," mother )                they share: each study goes to one of them
    mother       = user "@" host [ ":" port ]             port 2222 unless given
    archive      = AE-title "@" host ":" port
    endpoint     = host ":" port
    host         = name | IPv4 | "[" IPv6 "]"

Promises: a host or user that parses is safe as an argument of ssh and rsync (no leading hyphen, no
white space, nothing a shell would expand); `name` is safe as a directory's name and different for
different addresses. Does not look names up.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Protocol, TypeVar

from tackybox.config import values

DEFAULT_SSH_PORT = 2222

_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_LONGEST_NAME = 200  # of 255 that a directory's name may have


class Address(Protocol):
    """What a group asks of its alternatives."""

    @property
    def name(self) -> str: ...


A = TypeVar("A", bound=Address)


@dataclass(frozen=True, slots=True)
class MotherAddress:
    """How to reach one mother's gate."""

    user: str
    host: str
    port: int = DEFAULT_SSH_PORT

    @property
    def name(self) -> str:
        """`host_port`, made safe for a directory; whoever the user, the same gate is one mother."""
        return f"{_escaped(self.host)}_{self.port}"

    def __str__(self) -> str:
        return f"{self.user}@{_bracketed(self.host)}:{self.port}"


@dataclass(frozen=True, slots=True)
class ArchiveAddress:
    """How to reach one archive's storage SCP."""

    aet: str
    host: str
    port: int

    @property
    def name(self) -> str:
        """`AET_host_port`, made safe for a directory."""
        return f"{_escaped(self.aet, keep='_')}_{_escaped(self.host)}_{self.port}"

    def __str__(self) -> str:
        return f"{self.aet}@{_bracketed(self.host)}:{self.port}"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A host and a TCP port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{_bracketed(self.host)}:{self.port}"


@dataclass(frozen=True, slots=True)
class MotherGroup:
    """One outlet of a daughter: one of `alternatives` gets each item.

    The first that works; if they are `sharing`, the one that its study falls to
    (`daughter.pusher.spreading`).
    """

    alternatives: tuple[MotherAddress, ...]
    sharing: bool = False

    @property
    def name(self) -> str:
        """The outlet's directory: the same whatever the order, and whether they share or not."""
        return _group_name(address.name for address in self.alternatives)

    def __str__(self) -> str:
        return ("," if self.sharing else "|").join(map(str, self.alternatives))


@dataclass(frozen=True, slots=True)
class ArchiveGroup:
    """One outlet of a mother: the first of `alternatives` that works gets each item."""

    alternatives: tuple[ArchiveAddress, ...]

    @property
    def name(self) -> str:
        """The outlet's directory: the same whatever the order of the alternatives."""
        return _group_name(address.name for address in self.alternatives)

    def __str__(self) -> str:
        return "|".join(map(str, self.alternatives))


def parse_mothers(raw: object) -> tuple[MotherGroup, ...]:
    """Destinations as the grammar has them; raises ValueError."""
    return tuple(
        MotherGroup(group, sharing=separator == ",")
        for group, separator in _groups(raw, parse_mother, "|,")
    )


def parse_archives(raw: object) -> tuple[ArchiveGroup, ...]:
    """Archives as the grammar has them; raises ValueError."""
    return tuple(ArchiveGroup(group) for group, _ in _groups(raw, parse_archive, "|"))


def parse_peers(raw: object) -> tuple[ArchiveAddress, ...]:
    """Application entities, each AE title once, `AET@host:port;…`; raises ValueError."""
    parts = values.joined(raw).split(";")
    peers = tuple(_entity(part.strip(), "a modality", "CT1@host:104") for part in parts)
    for number, peer in enumerate(peers):
        if peer.aet in (other.aet for other in peers[:number]):
            raise ValueError(f"{peer.aet!r} is there twice; name each AE title once")
    return peers


def parse_mother(text: str) -> MotherAddress:
    """One `user@host[:port]`; raises ValueError."""
    user, at, place = text.rpartition("@")
    if not at or not _USER.fullmatch(user):
        raise ValueError(f"{text!r} is not a mother; write user@host:port, such as relay@host:2222")
    host, port = _host_and_port(place, text)
    return MotherAddress(user, host, DEFAULT_SSH_PORT if port is None else port)


def parse_archive(text: str) -> ArchiveAddress:
    """One `AET@host:port`; raises ValueError."""
    return _entity(text, "an archive", "PACS@host:104")


def parse_endpoint(raw: object) -> Endpoint:
    """One `host:port`; raises ValueError."""
    text = values.text(raw)
    host, port = _host_and_port(text, text)
    if port is None:
        raise ValueError(f"{text!r} has no port; write host:port, such as host:11112")
    return Endpoint(host, port)


def _entity(text: str, what: str, example: str) -> ArchiveAddress:
    aet, at, place = text.rpartition("@")
    if not at:
        raise ValueError(f"{text!r} is not {what}; write AET@host:port, such as {example}")
    host, port = _host_and_port(place, text)
    if port is None:
        raise ValueError(f"{text!r} has no port; write AET@host:port, such as {example}")
    return ArchiveAddress(values.ae_title(aet), host, port)


def _groups(
    raw: object, parse: Callable[[str], A], separators: str
) -> list[tuple[tuple[A, ...], str]]:
    """Each group, and which of `separators` parts it (the first of them if it is one address)."""
    groups = []
    seen: set[str] = set()
    for part in values.joined(raw).split(";"):
        used = [mark for mark in separators if mark in part]
        if len(used) > 1:
            raise ValueError(f"{part.strip()!r} has both {' and '.join(used)}; write only one kind")
        separator = used[0] if used else separators[0]
        group = []
        for alternative in part.split(separator):
            if not alternative.strip():
                marks = " or ".join([";", *separators])
                raise ValueError(f"an address is empty; write no {marks} without one on both sides")
            address = parse(alternative.strip())
            if address.name in seen:
                raise ValueError(f"{alternative.strip()!r} is there twice; name each place once")
            seen.add(address.name)
            group.append(address)
        groups.append((tuple(group), separator))
    return groups


def _host_and_port(place: str, whole: str) -> tuple[str, int | None]:
    if place.startswith("["):
        host, bracket, rest = place[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(f"{whole!r} has an open bracket; write an IPv6 address as [::1]:port")
        host = _ipv6(host, whole)
    else:
        host, colon, rest = place.partition(":")
        rest = colon + rest
        if rest.count(":") > 1:
            raise ValueError(f"{whole!r} has too many colons; write an IPv6 address in brackets")
        host = _host_name(host, whole)
    if not rest:
        return host, None
    port = rest[1:]
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        raise ValueError(f"{whole!r} has a bad port; write a number from 1 to 65535")
    return host, int(port)


def _ipv6(host: str, whole: str) -> str:
    try:
        if "%" in host:
            raise ValueError
        return str(IPv6Address(host))
    except ValueError:
        raise ValueError(f"{whole!r} has no IPv6 address in its brackets; write [::1]") from None


def _host_name(host: str, whole: str) -> str:
    wrong = f"{whole!r} has a bad host; write a host name or an IP address"
    if len(host) > 253 or not _HOST_NAME.fullmatch(host):
        raise ValueError(wrong)
    if re.fullmatch(r"[0-9.]+", host):
        try:
            ip_address(host)
        except ValueError:
            raise ValueError(wrong) from None
    return host.lower()


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _escaped(text: str, keep: str = ".") -> str:
    """`text` with every other character than letters, digits, - and `keep` as %XX."""
    return re.sub(rf"^-|[^A-Za-z0-9{keep}-]", lambda match: f"%{ord(match[0]):02X}", text)


def _group_name(names: Iterable[str]) -> str:
    # Sorted: an operator who swaps first choice and second must not strand what waits.
    name = "+".join(sorted(names))
    if len(name) > _LONGEST_NAME:
        digest = hashlib.sha256(name.encode()).hexdigest()[:16]
        name = f"{name[: _LONGEST_NAME - 17]}.{digest}"
    return name
