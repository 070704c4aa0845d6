"""What a box is set to: the only door to the environment and to YAML.

`load_daughter()`, `load_mother()` or `load_box()` once at start, before anything is touched; the
frozen result is handed down. Nothing else in the house reads a variable.
"""

from tackybox.config.addresses import (
    ArchiveAddress,
    ArchiveGroup,
    Endpoint,
    MotherAddress,
    MotherGroup,
)
from tackybox.config.boxes import BoxConfig, DaughterConfig, MotherConfig
from tackybox.config.children import changed_environment, child_environment, same_environment
from tackybox.config.commitment import Commitment, Proof
from tackybox.config.joining import JoinLine
from tackybox.config.lanes import LaneRule, lane_for
from tackybox.config.loading import Described, describe, load_box, load_daughter, load_mother
from tackybox.config.modalities import Modalities, ModalityRule

__all__ = [
    "ArchiveAddress",
    "ArchiveGroup",
    "BoxConfig",
    "Commitment",
    "DaughterConfig",
    "Described",
    "Endpoint",
    "JoinLine",
    "LaneRule",
    "Modalities",
    "ModalityRule",
    "MotherAddress",
    "MotherConfig",
    "MotherGroup",
    "Proof",
    "changed_environment",
    "child_environment",
    "describe",
    "lane_for",
    "load_box",
    "load_daughter",
    "load_mother",
    "same_environment",
]
