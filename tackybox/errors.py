"""Errors a person meets: the class fixes the exit code, the message says what to do.

Raise one of these only where nobody further up can mend the matter; the daemon or command
prints the message as one line and exits with the class's code (sysexits.h).
No message ever carries patient data.
"""

from __future__ import annotations


class TackyboxError(Exception):
    """Something went wrong that has no better class; exit code 1."""

    exit_code = 1


class UsageError(TackyboxError):
    """The command line asks for something impossible; exit code 64 (EX_USAGE)."""

    exit_code = 64


class DataError(TackyboxError):
    """A file is not what it must be (not DICOM, digest differs); exit code 65 (EX_DATAERR)."""

    exit_code = 65


class NotFoundError(TackyboxError):
    """What was asked for is not on record; exit code 66 (EX_NOINPUT)."""

    exit_code = 66


class UnavailableError(TackyboxError):
    """A peer, a port or a database can't be reached; exit code 69 (EX_UNAVAILABLE)."""

    exit_code = 69


class SpoolError(TackyboxError):
    """The spool can't be used: missing, read-only, on two filesystems, in use; exit code 74
    (EX_IOERR)."""

    exit_code = 74


class ConfigError(TackyboxError):
    """A setting is missing or wrong; the message names the variable or the file and key; exit
    code 78 (EX_CONFIG)."""

    exit_code = 78
