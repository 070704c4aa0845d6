"""`tackybox status`: what waits for each outlet, since when and why, and how long the disk will do.

Exit code 0 if all goes as it should, 1 if a person should look: something stands in quarantine, an
outlet does not answer, an archive does not prove that it keeps what it took, items wait for an
outlet that is no longer configured, a daemon that once ran here shows no sign of life, different
images came under one UID, space runs out, or images were refused in the last hour.
Reads the spool's directories, which are the truth, and the embedded journal for what happened last;
without a journal the first half is still shown. Changes nothing.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from mysql_utilities import lag
from tackybox.commands import journal, output
from tackybox.commands.opening import add_spool_argument, open_spool
from tackybox.config import BoxConfig, DaughterConfig, MotherConfig
from tackybox.pulse import Pulse
from tackybox.spool import Entry, Kept, Lane, Outlet, Space, Spool, State
from tackybox.spool.durable import names

NAME = "status"
HELP = (
    "what waits for each outlet, since when and why, and how long the disk will do; "
    "exit code 1 if a person should look"
)

_NOT_DELIVERED = (State.NEW, State.ACTIVE, State.DEFERRED, State.ANSWERED)
_PATIENCE_S = 3600.0  # for an archive's commitment: some look only now and then
_HOURS_LEFT_WARNING = 24.0


@dataclass(frozen=True, slots=True)
class LaneStatus:
    """One outlet's lane, in items. `oldest_at`: arrival of the oldest that is not delivered.

    `uncommitted`: an archive answered success, and its proof is waited for. `answered_at`: since
    when the oldest of those.
    """

    lane: str
    waiting: int
    in_hand: int
    deferred: int
    uncommitted: int
    sent: int
    done: int
    quarantined: int
    oldest_at: datetime | None
    answered_at: datetime | None

    @property
    def total(self) -> int:
        """All items in the lane."""
        counts = (self.waiting, self.in_hand, self.deferred, self.uncommitted, self.sent)
        return sum(counts) + self.done + self.quarantined


@dataclass(frozen=True, slots=True)
class OutletStatus:
    """One outlet. `configured` is None where the settings are not known."""

    name: str
    configured: bool | None
    lanes: list[LaneStatus]
    journal: journal.OutletFacts

    @property
    def total(self) -> int:
        """All items of the outlet."""
        return sum(lane.total for lane in self.lanes)


@dataclass(frozen=True, slots=True)
class CommitmentStatus:
    """Storage commitment requests of modalities that are open, and since when the oldest is."""

    open: int
    oldest_at: datetime | None


@dataclass(frozen=True, slots=True)
class Status:
    """All that the verb shows."""

    box: str
    spool: str
    at: datetime
    space: Space
    inflow_bytes_per_hour: float | None
    hours_left: float | None
    kept: int
    not_fanned_out: int
    before_outlets_quarantined: int
    outlets: list[OutletStatus]
    journal: lag.Lag
    commitment: CommitmentStatus
    attention: list[str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    add_spool_argument(parser)
    parser.add_argument("--json", action="store_true", help="write JSON")


def run(args: argparse.Namespace) -> int:
    """Show the status; 0, or 1 if a person should look."""
    spool, config = open_spool(args)
    status = read(spool, config)
    if args.json:
        output.write_json(asdict(status))
    else:
        _print(status)
    return 1 if status.attention else 0


def read(spool: Spool, config: DaughterConfig | MotherConfig | None) -> Status:
    """The status of the box whose spool this is."""
    facts = journal.facts(spool)
    quarantined = spool.count_quarantined()
    configured = _configured(config)
    existing = set(names(spool.root / "out"))
    outlets = [
        OutletStatus(
            name=name,
            configured=None if configured is None else name in configured,
            lanes=_lanes(Outlet(spool.root, name), quarantined) if name in existing else [],
            journal=facts.outlets.get(name, journal.OutletFacts()),
        )
        for name in sorted(existing | (configured or set()))
    ]
    space = spool.space()
    hours_left = None
    if facts.inflow_bytes_per_hour:
        hours_left = space.free_bytes / facts.inflow_bytes_per_hour
    before = sum(count for (outlet, _), count in quarantined.items() if outlet == "_box")
    status = Status(
        box=config.name if config else facts.box,
        spool=str(spool.root),
        at=datetime.now(UTC),
        space=space,
        kept=Kept(spool.root).count(),
        inflow_bytes_per_hour=facts.inflow_bytes_per_hour,
        hours_left=hours_left,
        not_fanned_out=sum(1 for lane in Lane for _ in names(spool.root / "new" / lane)),
        before_outlets_quarantined=before,
        outlets=outlets,
        journal=lag.read(spool.journal, config.sql if config else None),
        commitment=CommitmentStatus(*spool.commitments.tally()),
        attention=[],
    )
    status.attention.extend(_lifeless(spool))
    status.attention.extend(_attention(status, config))
    status.attention.extend(facts.attention)
    return status


def _configured(config: DaughterConfig | MotherConfig | None) -> set[str] | None:
    if isinstance(config, DaughterConfig):
        return {group.name for group in config.destinations}
    if isinstance(config, MotherConfig):
        return {group.name for group in config.archives}
    return None


def _lanes(outlet: Outlet, quarantined: Counter[tuple[str, Lane]]) -> list[LaneStatus]:
    lanes = []
    for lane in Lane:
        tallies = {state: outlet.tally(state, lane) for state in State}
        oldest = [found for state in _NOT_DELIVERED if (found := tallies[state].oldest)]
        lanes.append(
            LaneStatus(
                lane=str(lane),
                waiting=tallies[State.NEW].count,
                in_hand=tallies[State.ACTIVE].count,
                deferred=tallies[State.DEFERRED].count,
                uncommitted=tallies[State.ANSWERED].count,
                sent=tallies[State.SENT].count,
                done=tallies[State.DONE].count,
                quarantined=quarantined[outlet.name, lane],
                oldest_at=min(map(_arrived_at, oldest), default=None),
                answered_at=_moved_at(tallies[State.ANSWERED].oldest),
            )
        )
    return lanes


def _arrived_at(entry: Entry) -> datetime:
    return entry.item.arrived_at


def _moved_at(entry: Entry | None) -> datetime | None:
    """Since when an entry stands where it stands."""
    try:
        return datetime.fromtimestamp(entry.path.stat().st_ctime, UTC) if entry else None
    except FileNotFoundError:
        return None


def _attention(status: Status, config: BoxConfig | None) -> list[str]:
    """A sentence for each thing that a person should look at."""
    sentences = []
    count = status.before_outlets_quarantined
    count += sum(lane.quarantined for outlet in status.outlets for lane in outlet.lanes)
    if count:
        sentences.append(f"{count} in quarantine; see: tackybox quarantine list")
    for outlet in status.outlets:
        if outlet.journal.is_down:
            sentences.append(f"{outlet.name} does not answer: {outlet.journal.problem}")
        since = [lane.answered_at for lane in outlet.lanes if lane.answered_at]
        if since and (status.at - min(since)).total_seconds() > _PATIENCE_S:
            count = sum(lane.uncommitted for lane in outlet.lanes)
            sentences.append(
                f"{outlet.name} took {count} and does not say that it keeps them, the oldest since "
                f"{output.moment(min(since))} UTC"
            )
        if outlet.configured is False and outlet.total:
            sentences.append(f"{outlet.name} is not configured any more and has {outlet.total}")
    if config and (low := status.space.shortage(config.min_free_mib << 20)):
        sentences.append(f"{low}: nothing more is accepted")
    elif status.hours_left is not None and status.hours_left < _HOURS_LEFT_WARNING:
        sentences.append(f"at this rate the disk is full in {status.hours_left:.1f} hours")
    if status.space.total_inodes and status.space.free_inodes < status.space.total_inodes // 50:
        sentences.append("less than 2 % of the disk's inodes are free")
    return sentences


def _lifeless(spool: Spool) -> list[str]:
    sentences = []
    for pulse in Pulse.all(spool.root):
        if not spool.has_part(pulse.part):
            sentences.append(f"the {pulse.part} is not running: see its log, and start it")
        elif not pulse.is_starting and (silent := pulse.silent()):
            sentences.append(
                f"no sign of life of the {pulse.part}'s {', '.join(silent)}: see its log"
            )
    return sentences


def _print(status: Status) -> None:
    console = output.console()
    columns = ["outlet", "lane", "waiting", "oldest", "in hand", "deferred"]
    columns += ["uncommitted", "sent", "done", "quarantined"]
    outlets = output.table(f"{status.box}: {status.spool}", columns, right=columns[2:])
    for outlet in status.outlets:
        for row in _rows(outlet, status.at):
            output.add_row(outlets, row)
    console.print(outlets)
    if status.not_fanned_out:
        console.print(f"{status.not_fanned_out} accepted, not yet handed to any outlet")
    last = output.table("\nLast problem of each outlet", ["outlet", "at (UTC)", "step", "problem"])
    for outlet in status.outlets:
        facts = outlet.journal
        if facts.problem_at:
            at = output.moment(facts.problem_at)
            output.add_row(last, [outlet.name, at, facts.problem_kind, facts.problem])
    if last.row_count:
        console.print(last)
    console.print()
    console.print(output.cell(_space(status)), soft_wrap=True)
    console.print(output.cell(_lag(status.journal, status.at)), soft_wrap=True)
    if gap := status.journal.gap:
        told = f"Journal gap, found {output.moment(gap.at)} UTC: {gap.detail}"
        console.print(output.cell(told), soft_wrap=True)
    if status.commitment.oldest_at is not None:
        age = output.duration((status.at - status.commitment.oldest_at).total_seconds())
        text = f"Storage commitment: {status.commitment.open} request(s) not yet answered"
        console.print(output.cell(f"{text}, the oldest for {age}"), soft_wrap=True)
    for sentence in status.attention:
        console.print(output.cell(f"! {sentence}"), style="bold", soft_wrap=True)


def _rows(outlet: OutletStatus, now: datetime) -> list[list[Any]]:
    title = outlet.name
    if outlet.configured is False:
        title += " (not configured any more)"
    if not outlet.lanes:
        return [[f"{title} (nothing yet)"]]
    rows = []
    for lane in outlet.lanes:
        age_s = (now - lane.oldest_at).total_seconds() if lane.oldest_at else None
        counts = [lane.in_hand, lane.deferred, lane.uncommitted, lane.sent, lane.done]
        counts.append(lane.quarantined)
        rows.append([title, lane.lane, lane.waiting, output.duration(age_s), *counts])
        title = " "
    return rows


def _space(status: Status) -> str:
    space = status.space
    text = f"Free: {output.size(space.free_bytes)} of {output.size(space.total_bytes)}"
    text += f", {space.free_inodes} inodes"
    if status.kept:
        text += f", {status.kept} released copies kept"
    if status.inflow_bytes_per_hour is None or status.hours_left is None:
        return f"{text}; nothing came in of late to foretell how long it will do"
    rate = output.size(status.inflow_bytes_per_hour)
    return f"{text}; at {rate} per hour enough for {output.duration(status.hours_left * 3600)}"


def _lag(found: lag.Lag, now: datetime) -> str:
    """How far the journal is behind, which is nothing that a person must mend."""

    def ago(at: datetime | None) -> str:
        return output.duration((now - at).total_seconds() if at else None)

    text = f"Journal: last step {ago(found.last_at)} ago" if found.last_at else "Journal: no step"
    pending = found.pending
    if pending.events or pending.uncounted_bytes:
        more = " at least" if pending.uncounted_bytes else ""
        size = output.size(pending.size_bytes + pending.uncounted_bytes)
        text += f";{more} {pending.events} not yet in it ({size}, for {ago(pending.oldest_at)})"
    for server in found.servers:
        text += f"; {server.server} "
        behind = f"lacks {server.events} (for {ago(server.oldest_at)})"
        text += behind if server.events else "has all"
    return text
