"""`tackybox sheet`: what a modality's engineer must enter and know, to print or to mail.

On a daughter. What it says of the receiver is held by its test against what the receiver
negotiates and answers, as docs/CONFORMANCE.md is. The address is a guess unless it is told or set.
"""

from __future__ import annotations

import argparse
import socket
import textwrap
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any

from tackybox.commands import output
from tackybox.config import DaughterConfig, Endpoint, load_box
from tackybox.config.addresses import parse_endpoint
from tackybox.errors import UsageError
from tackybox.item import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

NAME = "sheet"
HELP = "the sheet for a modality's engineer: AE title, address, port, what is accepted"

_COLUMNS = 78
_LABEL_COLUMNS = 20
_ANY_HOST = "192.0.2.1"  # RFC 5737: nobody's; no packet is sent there


@dataclass(frozen=True, slots=True)
class Answer:
    """A status of C-STORE (PS3.7 Annex C, PS3.4 table B.2-1), and what the modality must do."""

    status: str
    when: str
    modality: str


@dataclass(frozen=True, slots=True)
class Service:
    """SOP classes that are accepted, and the transfer syntaxes for them."""

    sop_classes: str
    transfer_syntaxes: str


SERVICES = (
    Service(
        "Verification (C-ECHO)",
        "Implicit VR Little Endian, Explicit VR Little Endian, "
        "Deflated Explicit VR Little Endian, Explicit VR Big Endian",
    ),
    Service(
        "every SOP class of the Storage and Non-Patient Object Storage services, retired and "
        "private ones too (C-STORE)",
        "every one, compressed and private ones too; of several in one presentation context "
        "the first, so propose each that matters in a context of its own",
    ),
)
ANSWERS = (
    Answer("0000", "the image is safe on the box's disk", "may forget it"),
    Answer("A700", "no room on the box's disk at the moment", "keeps it and sends it again later"),
    Answer("0110", "an error of the box's own", "keeps it and sends it again later"),
    Answer("A900", "data set and command name different objects", "keeps it; tell its vendor"),
    Answer("C000", "what came is no data set", "keeps it; tell its vendor"),
    Answer("0117", "the SOP Instance UID is no UID", "keeps it; tell its vendor"),
    Answer("0118", "the SOP Class UID is no UID", "keeps it; tell its vendor"),
)
COMMITMENT = Service(
    "Storage Commitment Push Model (N-ACTION)",
    "Explicit VR Little Endian, Implicit VR Little Endian",
)
NOT_OFFERED = (
    "Modality Worklist, MPPS, Query/Retrieve, Print, TLS: switch them off at the modality for "
    "this destination"
)
NOTES = (
    "The modality must send again, by itself, what was not answered 0000: after another status, "
    "a broken association, or no answer. An image that comes twice does no harm.",
    "Images go on unchanged: character sets, time zones, private attributes and compression are "
    "what the modality makes them. Its clock should be right all the same.",
)


@dataclass(frozen=True, slots=True)
class Sheet:
    """All that stands on it."""

    box: str
    made_on: str
    ae_title: str
    host: str
    host_is_a_guess: bool
    port: int
    called_ae_title_is_checked: bool
    anyone_may_send: bool
    may_send: tuple[str, ...]
    max_pdu_bytes: int
    max_associations: int
    silence_s: float
    implementation_class_uid: str = IMPLEMENTATION_CLASS_UID
    implementation_version_name: str = IMPLEMENTATION_VERSION_NAME
    commitment: str = ""
    services: tuple[Service, ...] = SERVICES
    not_offered: str = NOT_OFFERED
    answers: tuple[Answer, ...] = ANSWERS
    notes: tuple[str, ...] = NOTES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument(
        "--address", metavar="HOST[:PORT]",
        help="where modalities reach this box; unset = what this machine is known by, a guess",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="write JSON")


def run(args: argparse.Namespace) -> int:
    """Write the sheet. Raises ConfigError, UsageError."""
    config = load_box()
    if not isinstance(config, DaughterConfig):
        raise UsageError(f"{config.name} is a mother; run this on the daughter that is sent to")
    sheet = make(config, args.address)
    if args.json:
        output.write_json(asdict(sheet))
    else:
        print("\n".join(_lines(sheet)))
    return 0


def make(config: DaughterConfig, told: str | None) -> Sheet:
    """The sheet of a daughter that modalities reach at `told`; raises UsageError."""
    place = _place(config, told)
    return Sheet(
        box=config.name,
        made_on=f"{datetime.now(UTC):%Y-%m-%d}",
        ae_title=config.aet,
        host=place.host,
        host_is_a_guess=told is None and _bound_to(config) is None,
        port=place.port,
        called_ae_title_is_checked=config.require_called_aet,
        anyone_may_send=config.modalities.anyone,
        may_send=tuple(map(str, config.modalities.rules)),
        max_pdu_bytes=config.max_pdu_bytes,
        max_associations=config.max_associations,
        silence_s=min(config.network_timeout_s, config.dimse_timeout_s),
        **_commitment(config),
    )


def _commitment(config: DaughterConfig) -> dict[str, Any]:
    """What the sheet says of storage commitment."""
    if not config.commitment_timeout_s:
        return {"not_offered": f"Storage Commitment, {NOT_OFFERED}"}
    hours = config.commitment_timeout_s / 3600
    peers = config.commitment_peers or ()
    known = ", ".join(f"{peer.aet} at {peer.host}:{peer.port}" for peer in peers)
    return {
        "services": (*SERVICES, COMMITMENT),
        "commitment": f"success only when every archive has the image, failure after {hours:g} h; "
        f"told on a new association to {f'{known}; others: ' if known else ''}the address that "
        f"asked, port {config.commitment_port} (else: TACKYBOX_COMMITMENT_PEERS on the box)",
    }


def _place(config: DaughterConfig, told: str | None) -> Endpoint:
    if told is None:
        return Endpoint(_bound_to(config) or _outward_address(), config.port)
    for text in (told, f"{told}:{config.port}"):
        try:
            return parse_endpoint(text)
        except ValueError as error:
            problem = error
    raise UsageError(f"--address {problem}")


def _bound_to(config: DaughterConfig) -> str | None:
    """The one address that the receiver listens on, None if it is every one or loopback."""
    bound = ip_address(config.bind)
    return None if bound.is_unspecified or bound.is_loopback else config.bind


def _outward_address() -> str:
    """The address that this machine calls others from, or its name."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect((_ANY_HOST, 9))
            return str(sock.getsockname()[0])
    except OSError:
        return socket.gethostname()


def _lines(sheet: Sheet) -> Iterator[str]:
    yield f"SENDING IMAGES TO {sheet.ae_title} ({sheet.box})"
    yield f"For the modality's engineer; made on {sheet.made_on}"
    yield ""
    yield from _entry("AE title", sheet.ae_title)
    guess = "  (A GUESS: check it, or make this sheet with --address)"
    yield from _entry("Host", sheet.host + (guess if sheet.host_is_a_guess else ""))
    yield from _entry("Port", str(sheet.port))
    called = f"must be {sheet.ae_title}" if sheet.called_ae_title_is_checked else "any"
    yield from _entry("Called AE title", called)
    yield from _entry("Who may send", _who(sheet))
    yield from _entry("Longest PDU", f"{sheet.max_pdu_bytes} bytes")
    yield from _entry("Associations", f"at most {sheet.max_associations} at a time")
    yield from _entry("Silence", f"an association may be silent for {sheet.silence_s:g} s")
    yield from _entry("Implementation", sheet.implementation_version_name)
    yield from _entry("", sheet.implementation_class_uid)
    yield from ("", "ACCEPTED (AE role SCP)")
    for service in sheet.services:
        yield from _entry("SOP classes", service.sop_classes)
        yield from _entry("Transfer syntaxes", service.transfer_syntaxes)
    if sheet.commitment:
        yield from _entry("Commitment", sheet.commitment)
    yield from _entry("Not offered", sheet.not_offered)
    yield from ("", "WHAT A C-STORE IS ANSWERED")
    for answer in sheet.answers:
        yield from _entry(f"0x{answer.status}", f"{answer.when}; the modality {answer.modality}")
    yield ""
    for note in sheet.notes:
        yield from textwrap.wrap(note, _COLUMNS)


def _who(sheet: Sheet) -> str:
    if sheet.anyone_may_send:
        return "everyone who reaches the port"
    add = (
        "enter AE title and IP address of the modality into TACKYBOX_MODALITIES on the box before "
        "the first image"
    )
    if not sheet.may_send:
        return f"nobody yet: {add}"
    return f"{', '.join(sheet.may_send)} (AE title@address, * = any). If not among them: {add}"


def _entry(label: str, text: str) -> list[str]:
    return textwrap.wrap(
        output.cell(text).plain, _COLUMNS,
        initial_indent=f"{label:{_LABEL_COLUMNS}}", subsequent_indent=" " * _LABEL_COLUMNS,
        break_long_words=False,
    )  # fmt: skip
