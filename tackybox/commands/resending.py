"""Sends again what an archive lacks, for `reconcile --send`: from wherever a copy still is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console

from mysql_utilities.events import Kind
from mysql_utilities.recorder import Recorder
from tackybox.commands.expected import Image
from tackybox.config import BoxConfig, MotherConfig
from tackybox.spool import Kept, Outlet, Receipt, ReceiptKind, ReceiptLog, Spool, State

_MISSING = "missing at the archive when it was asked"


@dataclass(slots=True)
class Resent:
    """How many items were queued again here, asked for at daughters, and found nowhere."""

    queued: int = 0
    asked: Counter[str] = field(default_factory=Counter)
    gone: int = 0

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"queued": self.queued, "asked": dict(self.asked), "gone": self.gone}

    def print(self, console: Console) -> None:
        """For people."""
        console.print(f"\n{self.queued} queued again here.")
        for daughter, count in self.asked.items():
            console.print(
                f"{count} asked for at {daughter}, which sends them again if it still has them."
            )
        if self.gone:
            console.print(f"{self.gone} not here any more: only the modality can send them again.")


def send_again(config: BoxConfig, missing: Sequence[Image]) -> Resent:
    """Queue each of `missing` again, or ask its daughter for it, and put that on record.

    On a daughter all that she was to send to the mother of the outlet goes there once more; the
    mother gives it to all of her archives, of which most know it already.
    """
    kind = "mother" if isinstance(config, MotherConfig) else "daughter"
    resent, spool = Resent(), Spool.open(config.spool, kind)
    wanted: dict[str, list[Image]] = {}
    with Recorder(spool.journal, config.name) as recorder:
        for image in missing:
            if isinstance(config, MotherConfig):
                queued = spool.send_again(image.outlet, image.item.name)
                if not queued:
                    wanted.setdefault(image.item.origin, []).append(image)
            else:
                queued = _queue_on_daughter(spool, image)
                resent.gone += not queued
            resent.queued += queued
            if queued:
                _record(recorder, image, _MISSING)
        for daughter, images in wanted.items():
            names = dict.fromkeys(image.item.name for image in images)
            receipts = [Receipt.now(ReceiptKind.WANTED, name, _MISSING) for name in names]
            ReceiptLog(spool.root, daughter).append(receipts)
            resent.asked[daughter] = len(names)
            for image in images:
                _record(recorder, image, f"{_MISSING}; {daughter} is asked for it")
    return resent


def _queue_on_daughter(spool: Spool, image: Image) -> bool:
    name, outlet = image.item.name, Outlet(spool.root, image.outlet)
    entry = outlet.find(name)
    if entry is None:
        return Kept(spool.root).hand_to(outlet, name) is not None
    if entry.path.parent.parent.name != State.NEW:
        outlet.send_again(entry)
        outlet.bell.ring()
    return True


def _record(recorder: Recorder, image: Image, why: str) -> None:
    recorder.record(
        Kind.REQUEUED, item=image.item.id, digest=image.item.digest,
        sop_instance_uid=image.item.sop_instance_uid, destination=image.outlet,
        peer_address=image.archive, detail=why,
    )  # fmt: skip
