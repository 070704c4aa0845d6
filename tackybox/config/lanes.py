"""Which lane an item travels in: high, medium or low, DICOM's own Priority values (PS3.7 9.3.1).

In tackybox.yml only, a list of rules; the first that fits an item decides, and an item that none
fits keeps the priority that its sender gave it:

    lanes:
      - {calling_aet: ER_XRAY, lane: high}
      - {modality: MG, lane: low}
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tackybox.config import values
from tackybox.spool import Lane


@dataclass(frozen=True, slots=True)
class LaneRule:
    """One rule; an empty `modality` or `calling_aet` fits every item."""

    lane: Lane
    modality: str = ""
    calling_aet: str = ""

    def fits(self, *, modality: str, calling_aet: str) -> bool:
        """Whether the rule is about an item with this Modality (0008,0060) and calling AE title."""
        return self.modality in ("", modality.strip()) and self.calling_aet in (
            "",
            calling_aet.strip(),
        )

    def __str__(self) -> str:
        conditions = [f"modality {self.modality}"] if self.modality else []
        conditions += [f"calling_aet {self.calling_aet}"] if self.calling_aet else []
        return f"{' and '.join(conditions) or 'all'} → {self.lane}"


def lane_for(
    rules: Sequence[LaneRule], *, modality: str, calling_aet: str, otherwise: Lane
) -> Lane:
    """The lane of the first rule that fits, or `otherwise`."""
    for rule in rules:
        if rule.fits(modality=modality, calling_aet=calling_aet):
            return rule.lane
    return otherwise


def parse_lanes(raw: object) -> tuple[LaneRule, ...]:
    """The rules of tackybox.yml; raises ValueError."""
    if not isinstance(raw, list):
        raise ValueError("is not a list; write rules such as - {modality: CT, lane: high}")
    return tuple(_rule(number, part) for number, part in enumerate(raw, start=1))


def _rule(number: int, part: Any) -> LaneRule:
    if not isinstance(part, dict) or not set(part) <= {"lane", "modality", "calling_aet"}:
        raise ValueError(
            f"rule {number} is not known; write lane and, if need be, modality and calling_aet"
        )
    try:
        return LaneRule(
            lane=Lane(values.choice(*Lane)(part.get("lane", ""))),
            modality=values.text(part["modality"]) if "modality" in part else "",
            calling_aet=values.ae_title(part["calling_aet"]) if "calling_aet" in part else "",
        )
    except ValueError as error:
        raise ValueError(f"rule {number}: {error}") from None
