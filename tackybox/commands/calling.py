"""Whom a verb that speaks DICOM calls, and under which AE title. Loads no network library."""

from __future__ import annotations

import argparse

from tackybox.config import ArchiveAddress
from tackybox.config.addresses import parse_archive
from tackybox.config.values import ae_title
from tackybox.errors import UsageError

DEFAULT_AET = "TACKYBOX"


def add_calling_argument(parser: argparse.ArgumentParser) -> None:
    """The `--calling` of every verb that speaks DICOM."""
    parser.add_argument(
        "--calling", metavar="AET", help=f"our own AE title; unset = this box's, or {DEFAULT_AET}"
    )


def address_of(text: str) -> ArchiveAddress:
    """The peer that `text` names; raises UsageError."""
    try:
        return parse_archive(text)
    except ValueError as error:
        raise UsageError(str(error)) from None


def calling_aet(told: str | None) -> str:
    """Our AE title: the one that was told, or the default; raises UsageError."""
    try:
        return ae_title(told or DEFAULT_AET)
    except ValueError as error:
        raise UsageError(str(error)) from None
