"""Which spool a verb looks at: the one it is told, or this box's own."""

from __future__ import annotations

import argparse
from pathlib import Path

from tackybox.config import DaughterConfig, MotherConfig, load_box
from tackybox.errors import NotFoundError, SpoolError, UsageError
from tackybox.spool import Spool
from tackybox.spool.identity import read_identity


def add_spool_argument(parser: argparse.ArgumentParser) -> None:
    """The `--spool` that every verb about a spool has."""
    parser.add_argument(
        "--spool",
        type=Path,
        metavar="DIR",
        help="the spool to look at; unset = this box's own, as its settings say",
    )


def open_spool(args: argparse.Namespace) -> tuple[Spool, DaughterConfig | MotherConfig | None]:
    """The spool, which must be there already, and this box's settings unless a spool was told.

    Changes nothing on disk. Raises NotFoundError where no spool is, SpoolError where it can't be
    read, ConfigError if the settings are wanted and wrong.
    """
    config = None if args.spool else load_box()
    root = config.spool if config else args.spool
    try:
        identity, _ = read_identity(root)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFoundError(
            f"{root} is no spool; name one with --spool, or start the box that makes it"
        ) from None
    except OSError as error:
        raise SpoolError(f"the spool at {root} can't be read: {error.strerror}") from None
    return Spool(root, identity), config


def mother_here(verb: str) -> MotherConfig:
    """This box's settings, for a verb of mothers; raises UsageError on a daughter, ConfigError."""
    config = load_box()
    if not isinstance(config, MotherConfig):
        raise UsageError(f"{verb} is for a mother, and this box is a daughter; run it there")
    return config
