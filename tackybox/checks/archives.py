"""Each archive: whether it answers under our AE title, what it accepts, and if it can vouch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tackybox.checks.finding import Finding, Level
from tackybox.config import ArchiveAddress, MotherConfig, Proof
from tackybox.dimse.association import AssociationError, Failure, Timeouts
from tackybox.dimse.capabilities import COMMON, COMPRESSED, Capabilities, explore
from tackybox.dimse.commitment import CommitmentAssociation
from tackybox.dimse.scu import FALLBACKS, EchoResult, echo, uid_name

_LONGEST_ANSWER_S = 15.0
_REFUSED_CLASSES = (
    "have them enabled at the archive if they are sent here: they would stand in quarantine "
    "as sop-class-refused"
)


def archive(address: ArchiveAddress, config: MotherConfig) -> Iterator[Finding]:
    """One archive; what it accepts is asked only where it answers."""
    subject = f"archive {address}"
    timeouts = Timeouts(config.connect_timeout_s, min(config.dimse_timeout_s, _LONGEST_ANSWER_S))
    result = echo(address, calling_aet=config.aet, timeouts=timeouts)
    if not result.reachable:
        remedy = _remedy(result, address, config)
        yield Finding(Level.FAIL, subject, result.message, remedy)
        return
    if result.ok:
        seen = f"C-ECHO answered in {result.duration_s:.3f} s, under our AE title {config.aet}"
        yield Finding(Level.PASS, subject, seen)
    else:
        remedy = f"the relay takes it as there; allow C-ECHO for AE title {config.aet} all the same"
        yield Finding(Level.WARNING, subject, result.message, remedy)
    yield _accepts(subject, explore(address, calling_aet=config.aet, timeouts=timeouts))
    yield _vouches(subject, address, config, timeouts)


def _remedy(result: EchoResult, address: ArchiveAddress, config: MotherConfig) -> str:
    match result.failure:
        case Failure.REJECTED:
            return (
                f"enter our AE title {config.aet}, with this machine's address, at the archive; "
                f"and is {address.aet} its own AE title?"
            )
        case Failure.UNKNOWN_HOST:
            return "is its name right in TACKYBOX_ARCHIVES, and DNS?"
        case Failure.REFUSED:
            return "is it running, and the port right in TACKYBOX_ARCHIVES?"
        case _:
            return (
                "is it running, and the port open in every firewall between? "
                f"does it know our AE title {config.aet}?"
            )


def _accepts(subject: str, found: Capabilities) -> Finding:
    refused = [short_name(one) for one in COMMON if one in found.proposed_classes - found.classes]
    took = found.syntaxes()
    compressed = [name for one, name in COMPRESSED.items() if one in took]
    missing = [name for one, name in COMPRESSED.items() if one not in took]
    details = {
        "proposed_classes": len(found.proposed_classes),
        "accepted": {one: sorted(found.syntaxes(one)) for one in sorted(found.classes)},
        "refused": sorted(found.proposed_classes - found.classes),
        "problem": found.problem,
    }
    if found.problem:
        seen = f"what it accepts could not be asked: {found.problem}"
        remedy = "does it allow several associations one after the other?"
        return Finding(Level.WARNING, subject, seen, remedy, details)
    seen = (
        f"accepts {len(found.classes)} of {len(found.proposed_classes)} SOP classes"
        f"; of the common ones not: {', '.join(refused) or 'none'}"
        f"; compressed {', '.join(compressed) or 'in no way'}; not {', '.join(missing) or '-'}"
    )
    level = Level.WARNING if refused else Level.PASS
    return Finding(level, subject, seen, _REFUSED_CLASSES if refused else "", details)


def _vouches(
    subject: str, address: ArchiveAddress, config: MotherConfig, timeouts: Timeouts
) -> Finding:
    """Asked as the forwarder asks, on an association for nothing else; no commitment is asked."""
    proof = config.commitment.of(address)
    is_auto = proof is Proof.AUTO and config.report_port is not None
    try:
        association = CommitmentAssociation.open(
            address, lambda _: None, calling_aet=config.aet, timeouts=timeouts,
            max_pdu_bytes=config.max_pdu_bytes,
        )  # fmt: skip
        association.close()
    except AssociationError as error:
        seen = f"whether it offers storage commitment could not be asked: {error}"
        remedy = f"does it let AE title {config.aet} ask for storage commitment?"
        return Finding(Level.WARNING, subject, seen, remedy)
    if association.is_offered:
        return _offered(subject, proof, config)
    without = "does not offer storage commitment"
    remedy = (
        f"have it enabled there for AE title {config.aet}, or write {address}=find (a C-FIND is "
        "the proof) or =off into TACKYBOX_COMMITMENT"
    )
    if proof is Proof.REQUIRED:
        seen = f"{without}, and TACKYBOX_COMMITMENT is required: nothing counts as stored there"
        return Finding(Level.FAIL, subject, seen, remedy)
    if is_auto:
        seen = f"{without}: its answer Success is taken for what it says"
        return Finding(Level.WARNING, subject, seen, remedy)
    return Finding(Level.PASS, subject, f"{without}, nor is it asked for it")


def _offered(subject: str, proof: Proof, config: MotherConfig) -> Finding:
    offers = "offers storage commitment"
    if proof in (Proof.FIND, Proof.OFF):
        return Finding(Level.PASS, subject, f"{offers}; TACKYBOX_COMMITMENT is {proof}")
    if config.report_port is not None:
        seen = f"{offers}, and is asked for it; reports come to port {config.report_port}"
        return Finding(Level.PASS, subject, seen)
    if proof is Proof.AUTO:
        seen = f"{offers}; it is not asked for it, because TACKYBOX_REPORT_PORT is unset"
        return Finding(Level.PASS, subject, seen)
    seen = f"{offers}, but has no port of ours to report at"
    remedy = "set TACKYBOX_REPORT_PORT, unless it reports on the association on which it was asked"
    return Finding(Level.WARNING, subject, seen, remedy)


def short_name(sop_class_uid: str) -> str:
    """The name that PS3.6 gives a storage class, without the word that all of them have."""
    return uid_name(sop_class_uid).removesuffix(" Storage")


def syntax_names(syntaxes: Sequence[str]) -> tuple[str, str]:
    """The uncompressed (little endian, VR …) and the compressed ones of `syntaxes`, in words."""
    plain = [uid_name(one).split()[0].lower() for one in FALLBACKS if one in syntaxes]
    return ", ".join(plain), ", ".join(COMPRESSED[one] for one in COMPRESSED if one in syntaxes)
