"""Each modality of TACKYBOX_COMMITMENT_PEERS: whether it would take an answer just now."""

from __future__ import annotations

from collections.abc import Iterator

from tackybox.checks.finding import Finding, Level
from tackybox.config import DaughterConfig
from tackybox.dimse.association import AssociationError, Timeouts
from tackybox.dimse.commitment_provider import require_listening

_TIMEOUTS = Timeouts(connect_s=5.0, answer_s=10.0)


def commitment(config: DaughterConfig) -> Iterator[Finding]:
    """A warning for one that would not: it may only be switched off, and is told later."""
    for address in (config.commitment_peers or ()) if config.commitment_timeout_s else ():
        subject = f"storage commitment of {address}"
        try:
            require_listening(
                address, calling_aet=config.aet, timeouts=_TIMEOUTS,
                max_pdu_bytes=config.max_pdu_bytes,
            )  # fmt: skip
        except AssociationError as error:
            seen = str(error).replace("the archive", "the modality")
            remedy = (
                "is it switched on, its port right in TACKYBOX_COMMITMENT_PEERS, and our AE title "
                f"{config.aet} entered there as its storage commitment provider?"
            )
            yield Finding(Level.WARNING, subject, seen, remedy)
        else:
            yield Finding(Level.PASS, subject, "takes answers")
