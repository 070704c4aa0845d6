"""`tackybox trace KEY`: where each image is, since when, why it waits, and proof of delivery.

KEY is a SOP, series or study instance UID, an accession number, a patient ID or an item id. The
answer comes from the embedded journals of one or several spools, or from MySQL. A patient ID is
shown in --json only; names are never on record. It says where a journal has a gap that may concern
the answer, and where steps prove that a clock was wrong. Exit code 66 (EX_NOINPUT) when nothing is
on record.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mysql_utilities import reports
from mysql_utilities.events import FIELDS, Event, Kind
from mysql_utilities.reports import History, State
from mysql_utilities.skew import skews
from tackybox.commands import output
from tackybox.commands.sources import (
    add_source_arguments,
    find,
    find_gaps,
    opened,
    sources_of,
)
from tackybox.errors import NotFoundError

NAME = "trace"
HELP = "show an image's or a study's way through every box"

_GAPS_SHOWN = 3
_STYLES = {
    Kind.STORED: "green",
    Kind.RELEASED: "green",
    Kind.DEFERRED: "yellow",
    Kind.MISMATCH: "yellow",
    Kind.REQUEUED: "yellow",
    Kind.QUARANTINED: "red",
    Kind.REFUSED: "red",
    Kind.GAP: "red",
}
_HELD = {
    State.WAITING: "yellow",
    State.UNPROVED: "yellow",
    State.QUARANTINED: "red",
    State.REFUSED: "red",
}
_DELIVERED = {
    State.STORED: "stored in",
    State.AT_MOTHER: "at mother",
    State.RELEASED: "released after delivery to",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument(
        "key",
        metavar="KEY",
        help="SOP, series or study instance UID, accession number, patient ID or item id",
    )
    add_source_arguments(parser)
    parser.add_argument("--images", action="store_true", help="every step of every image")
    parser.add_argument("--json", action="store_true", help="write JSON, with every field")


def run(args: argparse.Namespace) -> int:
    """Show what is on record; raises NotFoundError if nothing is."""
    with sources_of(args) as sources:
        found = find(sources, args.key)
        gaps = find_gaps(sources, found)
    if not found:
        raise NotFoundError(
            "nothing on record for this key; it must be complete and exact (a SOP, series or "
            "study UID, an accession number or a patient ID)"
            + "".join(f"; {gap.box} has a gap: {gap.detail}" for gap in gaps[-1:])
        )
    if args.json:
        others = reports.other_contents(found)
        output.write_json([_as_dict(history, gaps, others) for history in found])
    else:
        console = output.console()
        render(found, console, images=args.images or len(found) == 1)
        _print_doubts(found, gaps, console)
    return 0


def print_study(spools: Sequence[Path], key: str, console: Console) -> None:
    """Show the summary of `key` from the journals of `spools`; raises NotFoundError."""
    with opened(list(spools), from_sql=False) as sources:
        found = find(sources, key)
    if not found:
        raise NotFoundError("nothing on record for this key")
    render(found, console, images=False)


def render(found: Sequence[History], console: Console, *, images: bool) -> None:
    """Histories for people: per study a summary, and with `images` every step of each."""
    for study in _by_study(found):
        _print_summary(study, console, tables=not images or len(study) > 1)
        if images:
            for history in study:
                console.print()
                _print_steps(history, console)
        console.print()


def _print_doubts(found: Sequence[History], gaps: Sequence[Event], console: Console) -> None:
    """Why what was shown may be incomplete, or dated wrongly."""
    for gap in gaps[-_GAPS_SHOWN:]:
        told = f"! Steps may be missing: {gap.box}, {output.moment(gap.at)} UTC: {gap.detail}"
        console.print(output.cell(told), style="red", soft_wrap=True)
    for skew in skews(found):
        told = f"! Times are skewed: {skew}"
        console.print(output.cell(told), style="yellow", soft_wrap=True)


def _by_study(found: Sequence[History]) -> list[list[History]]:
    studies: dict[str, list[History]] = {}
    for history in found:
        studies.setdefault(history.first("study_instance_uid"), []).append(history)
    return list(studies.values())


def _print_summary(study: Sequence[History], console: Console, *, tables: bool) -> None:
    first = study[0]
    console.print(Text.assemble(("Study ", "bold"), output.cell(first.first("study_instance_uid"))))
    facts = [
        ("accession number", _distinct(study, "accession_number")),
        ("modality", _distinct(study, "modality")),
        ("from", _distinct(study, "calling_aet", Kind.RECEIVED)),
        ("series", str(len({h.first("series_instance_uid") for h in study} - {""}))),
        ("images", str(sum(1 for history in study if history.item))),
    ]
    line = Text("  ").join(
        Text.assemble((f"{name} ", "dim"), output.cell(value)) for name, value in facts if value
    )
    console.print(line)
    console.print(_verdict(study))
    for uid, items in reports.other_contents(study).items():
        contents = len({history.first("digest") for history in items})
        words = f"{len(items)} images with {contents} contents bear the SOP Instance UID "
        console.print(Text.assemble((f"! {words}", "bold red"), output.cell(uid)))
    shown = [_reason_table(study)]
    if tables:
        shown += [_step_table(study), _wait_table(study)]
    for table in shown:
        if table.row_count:
            console.print()
            console.print(table)


def _distinct(study: Sequence[History], field: str, kind: Kind | None = None) -> str:
    """The values that a field has in this study; of a long list the first three."""
    values = {
        value: None
        for history in study
        for event in history.events
        if (kind is None or event.kind is kind) and (value := getattr(event, field))
    }
    listed = list(values)
    return ", ".join(listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")


def _verdict(study: Sequence[History]) -> Text:
    """One line: what a person wants to know first."""
    counts: dict[tuple[State, str], int] = {}
    for (_, destination, state), count in reports.states(study).items():
        counts[state, destination] = counts.get((state, destination), 0) + count
    images = sum(1 for history in study if history.item)
    # Where no archive's answer is on record, a daughter's journal alone was asked.
    final = {State.STORED} & {state for state, _ in counts} or {State.AT_MOTHER, State.RELEASED}
    parts = [
        Text(f"{count} of {images} {_DELIVERED[state]} {_plain(destination)}", "bold green")
        for (state, destination), count in counts.items()
        if state in final
    ]
    parts += [
        Text(f"{count} {state} for {_plain(destination) or 'its destinations'}", f"bold {style}")
        for held, style in _HELD.items()
        for (state, destination), count in counts.items()
        if state is held is not State.REFUSED
    ]
    refused = sum(1 for history in study if State.REFUSED in history.states.values())
    if refused:
        parts.append(Text(f"{refused} refused; the sender still has it", "bold red"))
    return Text("; ").join(parts or [Text("under way", "bold yellow")])


def _step_table(study: Sequence[History]) -> Table:
    clock, unit = _clock(event.at for history in study for event in history.events)
    columns = ["step", "box", "destination", "images", f"first{unit}", f"last{unit}"]
    table = _table(columns, right=["images"])
    steps: dict[tuple[str, Kind, str], list[tuple[datetime, str]]] = {}
    for history in study:
        for event in history.events:
            place = (event.box, event.kind, event.destination)
            steps.setdefault(place, []).append((event.at, event.item or event.event_id))
    for (box, kind, destination), made in sorted(steps.items(), key=lambda step: min(step[1])):
        first, last = min(made)[0], max(made)[0]
        images = len({item for _, item in made})
        cells = [kind, box, destination, images, clock(first), clock(last)]
        output.add_row(table, cells, _STYLES.get(kind, ""))
    return table


def _reason_table(study: Sequence[History]) -> Table:
    """What holds up what is not delivered, the most frequent reason first."""
    held: dict[tuple[State, str, str, str, str], list[datetime]] = {}
    for history in study:
        for event in history.standing.values():
            state = reports.state_of(event)
            if state in _HELD:
                why = (state, event.box, event.destination, _status(event), _why(event))
                held.setdefault(why, []).append(event.at)
    table = _table(["held up", "box", "destination", "images", "since (UTC)", "status", "why"],
                   right=["images"])  # fmt: skip
    for why, since in sorted(held.items(), key=lambda one: -len(one[1])):
        state, box, destination, status, words = why
        cells = [state, box, destination, len(since), output.moment(min(since)), status, words]
        output.add_row(table, cells, _HELD[state])
    return table


def _wait_table(study: Sequence[History]) -> Table:
    columns = ["way", "box", "destination", "images", "median", "longest"]
    table = _table(columns, right=["images", "median", "longest"])
    for wait in reports.waits(study):
        way = f"{wait.began.lower()} → {wait.done.lower()}"
        median, longest = _seconds(wait.median_s), _seconds(wait.longest_s)
        output.add_row(table, [way, wait.box, wait.destination, wait.count, median, longest])
    return table


def _print_steps(history: History, console: Console) -> None:
    uid = history.first("sop_instance_uid")
    console.print(Text.assemble(("Image ", "bold"), output.cell(uid)))
    if history.item:
        console.print(Text.assemble(("item ", "dim"), output.cell(history.item)))
    clock, unit = _clock(event.at for event in history.events)
    columns = [f"time{unit}", "wait", "step", "box", "destination", "status", "what happened"]
    table = _table(columns, right=["wait"])
    before: datetime | None = None
    for event in history.events:
        wait = _seconds((event.at - before).total_seconds()) if before else ""
        before = event.at
        cells = [
            clock(event.at), wait, event.kind, event.box, _where(event), _status(event),
            _what(event),
        ]  # fmt: skip
        output.add_row(table, cells, _STYLES.get(event.kind, ""))
    console.print(table)


def _where(event: Event) -> str:
    if event.kind is Kind.RECEIVED and event.calling_aet:
        return f"from {event.calling_aet}"
    if event.kind is Kind.LANDED and event.peer_address:
        return f"from {event.peer_address}"
    return event.destination


def _status(event: Event) -> str:
    return "" if event.status_code is None else f"0x{event.status_code:04X}"


def _why(event: Event) -> str:
    return event.detail or event.kind.meaning


def _what(event: Event) -> str:
    size = f" ({output.size(event.size_bytes)})" if event.size_bytes else ""
    return f"{_why(event)}{size}"


def _plain(text: str) -> str:
    return output.cell(text).plain if text else ""


def _table(columns: Sequence[str], *, right: Sequence[str]) -> Table:
    table = output.table("", columns, right=right)
    table.title = None
    return table


def _clock(moments: Iterable[datetime]) -> tuple[Callable[[datetime], str], str]:
    """How to write these times, and what to say of them in a heading: where all are of one day,
    the day stands in the heading and not in each row."""
    days = {at.date() for at in moments}
    if len(days) == 1:
        return (lambda at: at.isoformat(timespec="milliseconds")[11:23]), f" ({min(days)} UTC)"
    return (lambda at: at.isoformat(" ", timespec="milliseconds")[:23]), " (UTC)"


def _seconds(seconds: float) -> str:
    return f"{seconds:.3f} s" if abs(seconds) < 60 else output.duration(seconds)


def _as_dict(
    history: History, gaps: Sequence[Event], others: Mapping[str, Sequence[History]]
) -> dict[str, Any]:
    keys = ("sop_instance_uid", "series_instance_uid", "study_instance_uid", "accession_number")
    return {
        "item": history.item,
        **{name: history.first(name) for name in (*keys, "patient_id", "modality")},
        "same_uid_other_content": [
            other.item
            for other in others.get(history.first("sop_instance_uid"), [])
            if other.first("digest") != history.first("digest")
        ],
        "standing": [
            {
                "box": event.box,
                "destination": event.destination,
                "state": reports.state_of(event),
                "since": event.at,
                "detail": event.detail,
            }
            for event in history.standing.values()
        ],
        "events": [{name: getattr(event, name) for name in FIELDS} for event in history.events],
        "gaps": [
            {"box": gap.box, "at": gap.at, "detail": gap.detail}
            for gap in gaps
            if gap.at >= history.events[0].at
        ],
        "skews": [asdict(skew) for skew in skews([history])],
    }
