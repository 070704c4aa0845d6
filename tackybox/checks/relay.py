"""`tackybox check --relay`: a small study made for it goes the whole way, and each hop is timed.

On a daughter it comes in by C-STORE at the box's own receiver, under the box's own AE title; on a
mother it is put into the spool as her gate would. What proves the end is a daughter's receipt
"stored", on a mother the receipt that she signs. The study stays in the archive. Promises to end
within the time given (and one association's time-outs), with a sentence about where it stands.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from mysql_utilities.events import Kind
from mysql_utilities.recorder import Recorder
from tackybox.checks.hops import Hop, Made, Track, hops_of
from tackybox.checks.ports import receiver_address
from tackybox.config import DaughterConfig, MotherConfig
from tackybox.demo.phantom import RELAY_TEST, write_ct_study
from tackybox.dimse.association import Failure, Timeouts
from tackybox.dimse.files import read_source
from tackybox.dimse.scu import Source, echo
from tackybox.dimse.sending import Sender, Sent
from tackybox.errors import SpoolError
from tackybox.item import part10_head
from tackybox.spool import Lane, ReceiptKind, ReceiptLog, Spool

_SLICES = 3
_LOOK_EVERY_S = 0.5
_CONNECT_S = 10.0
_ANSWER_S = 30.0


@dataclass(slots=True)
class Outcome:
    """How it went; `problem` is "" if every image is stored in every archive meant."""

    study_instance_uid: str
    images: int
    sent: int = 0
    hops: list[Made] = field(default_factory=list)
    problem: str = ""
    remedy: str = ""


def relay(
    config: DaughterConfig | MotherConfig, timeout_s: float, note: Callable[[Made], None]
) -> Outcome:
    """Make the study, hand it in, follow it; `note` hears of each hop when all have made it.

    Raises SpoolError if this is not the user whose spool it is, or a mother's can't be used.
    """
    _refuse_strangers(config.spool)
    with tempfile.TemporaryDirectory(prefix="tackybox-check-") as directory:
        study, paths = write_ct_study(Path(directory), _SLICES, RELAY_TEST)
        sources = [read_source(path) for path in paths]
        outcome = Outcome(study, len(sources))
        began = datetime.now(UTC)
        until_s = time.monotonic() + timeout_s
        names: set[str] = set()
        if isinstance(config, DaughterConfig):
            _send(config, sources, timeout_s, outcome)
        else:
            names = _put(config, sources, outcome)
    if outcome.problem:
        return outcome
    uids = [source.sop_instance_uid for source in sources]
    track = Track(config.spool / "journal", uids, hops_of(config), began)
    while True:
        for made in track.look():
            if made.hop not in [known.hop for known in outcome.hops]:
                outcome.hops.append(made)
                note(made)
        is_signed = isinstance(config, DaughterConfig) or _signed(config, names)
        missing = track.missing()
        if missing is None and is_signed:
            if isinstance(config, DaughterConfig) and config.release == "landed":
                outcome.problem = "landed, and with release: landed no archive is heard of here"
                outcome.remedy = f"on the mother, tackybox trace {study} tells"
            return outcome
        if time.monotonic() > until_s or (missing is not None and track.is_over()):
            _explain(config, track, missing, outcome, timeout_s)
            return outcome
        time.sleep(_LOOK_EVERY_S)


def _send(
    config: DaughterConfig, sources: list[Source], timeout_s: float, outcome: Outcome
) -> None:
    """C-STORE to our own receiver, as ourselves."""
    address = receiver_address(config)
    timeouts = Timeouts(min(_CONNECT_S, timeout_s), min(_ANSWER_S, timeout_s))
    answer = echo(address, calling_aet=config.aet, timeouts=timeouts)
    if not answer.reachable:
        outcome.problem = f"our receiver takes nothing: {answer.message}"
        if answer.failure is Failure.REJECTED and config.receiver is not None:
            outcome.remedy = "run it in the receiver's container, which the receiver lets in"
        else:
            outcome.remedy = "is the receiver running? tackybox check says what has its port"
        return
    results: list[Sent] = []
    sender = Sender(address=address, calling_aet=config.aet, timeouts=timeouts)
    sender.send(sources, results.append)
    outcome.sent = sum(1 for one in results if one.delivered)
    failed = next((one for one in results if not one.delivered), None)
    if failed is not None:
        status = "no answer" if failed.status is None else f"status 0x{failed.status:04X}"
        meaning = failed.message.replace("The archive", "our receiver")  # as statuses words it
        outcome.problem = (
            f"{outcome.images - outcome.sent} of {outcome.images} images were not received: "
            f"{status}, {meaning}"
        )
        outcome.remedy = "tackybox status, and the receiver's log, say why"


def _refuse_strangers(spool: Path) -> None:
    """Raise SpoolError unless the daemons' files are ours: what another user, root too, leaves in
    a spool the daemons may not be able to link or write."""
    try:
        owner = (spool / "identity").stat().st_uid
    except FileNotFoundError:
        return
    except OSError as error:
        raise SpoolError(f"the spool at {spool} can't be looked at: {error.strerror}") from error
    if owner != os.geteuid():
        raise SpoolError(
            f"the spool at {spool} is of the user with number {owner}, this is number "
            f"{os.geteuid()}; run it as that user"
        )


def _put(config: MotherConfig, sources: list[Source], outcome: Outcome) -> set[str]:
    """Accept each image into a mother's spool, as from herself; the items' names."""
    spool = Spool.open(config.spool)
    if spool.space().is_low(config.min_free_mib << 20):
        outcome.problem = "the spool is below its low-space watermark (TACKYBOX_MIN_FREE_MIB)"
        outcome.remedy = "make room, or find out why nothing leaves: tackybox status"
        return set()
    names = set()
    try:
        with (
            spool.workspace("check") as workspace,
            Recorder(spool.journal, config.name) as recorder,
        ):
            for source in sources:
                names.add(_accept(config, spool, workspace, recorder, source))
                outcome.sent += 1
    except OSError as error:
        outcome.problem = f"the spool does not take it: {error.strerror}"
        outcome.remedy = "tackybox check says more"
    spool.bell.ring()
    return names


def _accept(
    config: MotherConfig, spool: Spool, workspace: Path, recorder: Recorder, source: Source
) -> str:
    """Make `source` an item of the mother's own; its name."""
    syntax, aet = source.transfer_syntax_uid, config.aet
    with spool.draft(workspace, config.name, syntax) as draft:
        draft.write_head(
            part10_head(
                sop_class_uid=source.sop_class_uid, sop_instance_uid=source.sop_instance_uid,
                transfer_syntax_uid=syntax, calling_aet=aet, called_aet=aet,
            )
        )  # fmt: skip
        draft.write_dataset(source.path.read_bytes()[source.dataset_offset :])
        entry = draft.accept(Lane.MEDIUM, source.sop_instance_uid)
    item = entry.item
    recorder.record(
        Kind.RECEIVED, item=item.id, at=item.arrived_at, digest=item.digest, lane=entry.lane,
        sop_class_uid=source.sop_class_uid, sop_instance_uid=item.sop_instance_uid,
        transfer_syntax_uid=syntax, calling_aet=aet, called_aet=aet, size_bytes=draft.size_bytes,
    )  # fmt: skip
    return item.name


def _signed(config: MotherConfig, names: set[str]) -> bool:
    """Whether the mother has signed that every archive of hers has each item."""
    receipts = ReceiptLog(config.spool, config.name).read_after(0)
    stored = {one.item_name for _, one in receipts if one.kind is ReceiptKind.STORED}
    return names <= stored


def _explain(
    config: DaughterConfig | MotherConfig,
    track: Track,
    missing: Hop | None,
    outcome: Outcome,
    timeout_s: float,
) -> None:
    """Where they stand, why, and what to do."""
    if missing is None:
        outcome.problem = f"stored, but not signed for after {timeout_s:.0f} s"
        outcome.remedy = "the forwarder's log says more"
        return
    why = track.why(missing)
    count = outcome.images - track.count(missing)
    outcome.problem = (
        f"{count} of {outcome.images} images stand at '{track.before(missing)}', not yet "
        f"'{missing}': {why or f'the journal does not say why, after {timeout_s:.0f} s'}"
    )
    study = outcome.study_instance_uid
    match missing.kind:
        case Kind.RECEIVED:
            outcome.remedy = "does the receiver that answered use this spool? is its log clean?"
        case Kind.QUEUED:
            part = "pusher" if isinstance(config, DaughterConfig) else "forwarder"
            outcome.remedy = f"is the {part} running?"
        case Kind.PUSHED:
            outcome.remedy = (
                "tackybox check says whether her gate lets us in, tackybox status what waits before"
            )
        case Kind.RELEASED:
            outcome.remedy = f"on the mother: tackybox check, and tackybox trace {study}"
        case _:
            outcome.remedy = "tackybox check says whether the archive answers"
    if why.startswith("in quarantine"):
        outcome.remedy = "tackybox quarantine list, there, says what to do"
