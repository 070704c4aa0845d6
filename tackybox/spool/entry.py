"""An item at its place in the spool: which lane, how often tried, when due."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tackybox.errors import DataError
from tackybox.item import Item


class Lane(StrEnum):
    """DICOM's Priority (0000,0700), PS3.7 table 9.3-1; iterated in the order of service."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"

    @classmethod
    def of_priority(cls, priority: int | None) -> Lane:
        """The lane for a Priority value: 0 medium, 1 high, 2 low; anything else is medium."""
        if priority == 1:
            return cls.HIGH
        return cls.LOW if priority == 2 else cls.MEDIUM

    @property
    def priority(self) -> int:
        """The Priority (0000,0700) value."""
        return {Lane.HIGH: 1, Lane.MEDIUM: 0, Lane.LOW: 2}[self]


class State(StrEnum):
    """Where an item stands with one outlet; the value is the directory's name."""

    NEW = "new"  # waiting for its first attempt
    ACTIVE = "active"  # in hand
    DEFERRED = "deferred"  # tried, waiting for its next attempt
    SENT = "sent"  # daughter: a mother has signed for it, our copy not yet freed
    ANSWERED = "answered"  # mother: this archive answered success, whether it keeps it is asked
    DONE = "done"  # mother: this archive has it, another one not yet


@dataclass(frozen=True, slots=True)
class Entry:
    """One item in one directory.

    `attempts` counts failed tries, `due_s` is when the next one may be (Unix time); both live in
    the name of a deferred file and nowhere else: `<item name>~<attempts>~<due_s>`.
    """

    item: Item
    lane: Lane
    path: Path
    attempts: int = 0
    due_s: int = 0

    @classmethod
    def at(cls, path: Path) -> Entry:
        """The entry at `path`, whose parent directory is its lane; raises DataError if not one."""
        return cls.named(path.parent, path.name)

    @classmethod
    def named(cls, directory: Path, file_name: str) -> Entry:
        """The entry called `file_name` in `directory`, which is its lane; raises DataError."""
        name, _, suffix = file_name.partition("~")
        attempts, _, due_s = suffix.partition("~")
        try:
            lane = Lane(directory.name)
            counts = (int(attempts), int(due_s)) if suffix else (0, 0)
        except ValueError as error:
            raise DataError("a file in the spool is not where an item can be") from error
        return cls(Item.parse(name), lane, directory / file_name, *counts)

    @property
    def file_name(self) -> str:
        """The item's name, with attempts and due time if it has any."""
        if not self.attempts:
            return self.item.name
        return f"{self.item.name}~{self.attempts}~{self.due_s}"
