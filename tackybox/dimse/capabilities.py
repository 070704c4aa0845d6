"""What an archive accepts, found out by proposing it; nothing is stored.

Promises: every class of PS3.4 table B.5-1 (and of Annex GG) as pynetdicom knows them is proposed in
the two uncompressed little endian syntaxes, then each image class of COMMON that was accepted in
each syntax of COMPRESSED; one presentation context for each pair, at most 128 in an association
(PS3.8 section 9.3.2.2), one association after the other. It ends after `limit_s` and one
association's time-outs at the latest, with what is known by then.
Does not promise that an archive stores what it accepts.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from pydicom import uid
from pynetdicom import AllStoragePresentationContexts
from pynetdicom.presentation import NonPatientObjectPresentationContexts

from tackybox.config.addresses import ArchiveAddress
from tackybox.dimse.association import AssociationError, Pair, Timeouts
from tackybox.dimse.scu import FALLBACKS, StorageAssociation, batches

_IMAGES = (
    uid.ComputedRadiographyImageStorage,
    uid.DigitalXRayImageStorageForPresentation,
    uid.DigitalMammographyXRayImageStorageForPresentation,
    uid.BreastTomosynthesisImageStorage,
    uid.CTImageStorage,
    uid.EnhancedCTImageStorage,
    uid.MRImageStorage,
    uid.EnhancedMRImageStorage,
    uid.UltrasoundImageStorage,
    uid.UltrasoundMultiFrameImageStorage,
    uid.XRayAngiographicImageStorage,
    uid.XRayRadiofluoroscopicImageStorage,
    uid.NuclearMedicineImageStorage,
    uid.PositronEmissionTomographyImageStorage,
    uid.SecondaryCaptureImageStorage,
    uid.MultiFrameTrueColorSecondaryCaptureImageStorage,
    uid.VLEndoscopicImageStorage,
    uid.VLMicroscopicImageStorage,
    uid.VLPhotographicImageStorage,
)
_DOCUMENTS = (
    uid.GrayscaleSoftcopyPresentationStateStorage,
    uid.KeyObjectSelectionDocumentStorage,
    uid.BasicTextSRStorage,
    uid.XRayRadiationDoseSRStorage,
    uid.EncapsulatedPDFStorage,
)
COMMON = tuple(str(one) for one in (*_IMAGES, *_DOCUMENTS))
"""The SOP classes that a hospital is likely to send."""

COMPRESSED = {
    "1.2.840.10008.1.2.4.50": "JPEG Baseline",
    "1.2.840.10008.1.2.4.51": "JPEG Extended",
    "1.2.840.10008.1.2.4.57": "JPEG Lossless",
    "1.2.840.10008.1.2.4.70": "JPEG Lossless SV1",
    "1.2.840.10008.1.2.4.80": "JPEG-LS Lossless",
    "1.2.840.10008.1.2.4.81": "JPEG-LS Near-Lossless",
    "1.2.840.10008.1.2.4.90": "JPEG 2000 Lossless",
    "1.2.840.10008.1.2.4.91": "JPEG 2000",
    "1.2.840.10008.1.2.4.201": "HTJ2K Lossless",
    "1.2.840.10008.1.2.4.202": "HTJ2K Lossless RPCL",
    "1.2.840.10008.1.2.4.203": "HTJ2K",
    "1.2.840.10008.1.2.5": "RLE Lossless",
    "1.2.840.10008.1.2.1.99": "Deflated",
    "1.2.840.10008.1.2.4.100": "MPEG2",
    "1.2.840.10008.1.2.4.102": "H.264",
    "1.2.840.10008.1.2.4.107": "H.265",
}
"""Transfer syntaxes by UID, each with a short name."""


@dataclass(slots=True)
class Capabilities:
    """What was proposed and what of it accepted; `problem` says why not all was proposed."""

    proposed: set[Pair] = field(default_factory=set)
    accepted: set[Pair] = field(default_factory=set)
    problem: str = ""

    @property
    def classes(self) -> set[str]:
        """The SOP classes that are accepted in any syntax."""
        return {pair.sop_class_uid for pair in self.accepted}

    @property
    def proposed_classes(self) -> set[str]:
        """The SOP classes that were proposed."""
        return {pair.sop_class_uid for pair in self.proposed}

    def syntaxes(self, sop_class_uid: str = "") -> set[str]:
        """The transfer syntaxes accepted for a SOP class, or for any."""
        return {
            pair.transfer_syntax_uid
            for pair in self.accepted
            if sop_class_uid in ("", pair.sop_class_uid)
        }


def explore(
    address: ArchiveAddress, *, calling_aet: str, timeouts: Timeouts, limit_s: float = 60.0
) -> Capabilities:
    """Propose all of it to the archive. Never raises for what the archive does."""
    found = Capabilities()
    until_s = time.monotonic() + limit_s

    def propose(pairs: Iterable[Pair]) -> None:
        for batch in batches(pairs):
            if time.monotonic() > until_s:
                found.problem = f"not done after {limit_s:.0f} s"
                return
            association = StorageAssociation.open(
                address, batch, calling_aet=calling_aet, timeouts=timeouts
            )
            association.close()
            found.proposed.update(batch)
            found.accepted.update(association.accepted)

    try:
        propose(Pair(one, syntax) for one in _storage_classes() for syntax in FALLBACKS)
        images = [str(one) for one in _IMAGES if str(one) in found.classes]
        propose(Pair(one, syntax) for one in images for syntax in COMPRESSED)
    except AssociationError as error:
        found.problem = str(error)
    return found


def _storage_classes() -> list[str]:
    contexts = AllStoragePresentationContexts + NonPatientObjectPresentationContexts
    return [str(context.abstract_syntax) for context in contexts]
