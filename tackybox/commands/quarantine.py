"""`tackybox quarantine`: what can't be delivered as it is; list it, look at one, put it back.

An item is named by its id or by any beginning of it that fits only one. No patient's name is shown:
what an operator needs is which archive said what about which object of which scanner.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydicom.uid import UID

from mysql_utilities.events import Kind
from mysql_utilities.recorder import Recorder
from tackybox import reasons
from tackybox.commands import journal, output
from tackybox.commands.opening import add_spool_argument, open_spool
from tackybox.config import BoxConfig
from tackybox.errors import DataError, NotFoundError, UsageError
from tackybox.item import read_header
from tackybox.spool import Spool
from tackybox.spool.spool import Quarantined

NAME = "quarantine"
HELP = "what can't be delivered as it is: list, show, retry"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    for name, help_text, action in (
        ("list", "what stands in quarantine, and why", _list),
        ("show", "all that is known of one item", _show),
        ("retry", "put items back into the queue, once their reason is gone", _retry),
    ):
        subparser = actions.add_parser(name, help=help_text, description=help_text)
        add_spool_argument(subparser)
        subparser.add_argument("--json", action="store_true", help="write JSON")
        subparser.set_defaults(action=action)
        if name == "show":
            subparser.add_argument("item", help="the item's id, or its beginning")
            continue
        subparser.add_argument("--outlet", help="only of this outlet")
        subparser.add_argument("--reason", help="only for this reason, e.g. status-a900")
        if name == "retry":
            subparser.add_argument("item", nargs="*", help="items' ids, or their beginnings")
            subparser.add_argument("--all", action="store_true", help="all that stand there")


def run(args: argparse.Namespace) -> int:
    """Do the action; 0, or 1 from `list` if anything stands in quarantine."""
    spool, config = open_spool(args)
    return int(args.action(args, spool, config))


def _list(args: argparse.Namespace, spool: Spool, config: BoxConfig | None) -> int:
    del config
    found = _chosen(spool, args)
    if args.json:
        output.write_json([_as_dict(one) for one in found])
        return 1 if found else 0
    console = output.console()
    if not found:
        console.print("Nothing stands in quarantine.")
        return 0
    items = output.table("In quarantine", ["item", "outlet", "lane", "arrived (UTC)", "reason"])
    for one in found:
        arrived = output.moment(one.entry.item.arrived_at)
        cells = [one.entry.item.id, one.outlet, one.entry.lane, arrived, one.reason]
        output.add_row(items, cells)
    console.print(items)
    why = output.table("\nWhy", ["items", "reason", "meaning and remedy"], right=["items"])
    for reason, count in Counter(one.reason for one in found).most_common():
        output.add_row(why, [count, reason, reasons.explain(reason)])
    console.print(why)
    return 1


def _show(args: argparse.Namespace, spool: Spool, config: BoxConfig | None) -> int:
    del config
    shown = [_details(one) for one in _named(spool.quarantined(), args.item)]
    history = journal.history(spool, shown[0]["item"])
    if args.json:
        output.write_json({"places": shown, "history": history})
        return 0
    console = output.console()
    for details in shown:
        facts = output.table(details["item"], ["", ""])
        facts.show_header = False
        for key, value in details.items():
            output.add_row(facts, [key.replace("_", " "), value])
        console.print(facts)
    steps = output.table("\nHistory on this box", ["at (UTC)", "step", "destination", "detail"])
    for event in history:
        at = output.moment(event["at"])
        output.add_row(steps, [at, event["kind"], event["destination"], event["detail"]])
    console.print(steps)
    return 0


def _retry(args: argparse.Namespace, spool: Spool, config: BoxConfig | None) -> int:
    if args.item and args.all:
        raise UsageError("--all takes no items; name some, or say --all")
    if not (args.item or args.all or args.outlet or args.reason):
        raise UsageError("which ones? name items, or say --outlet, --reason or --all")
    chosen = _chosen(spool, args)
    if args.item:
        chosen = [one for item in args.item for one in _named(chosen, item)]
    box = config.name if config else journal.facts(spool).box
    with Recorder(spool.journal, box) as recorder:
        retried = [one for one in chosen if _put_back(spool, one, recorder)]
    if args.json:
        output.write_json([_as_dict(one) for one in retried])
    else:
        output.console().print(f"{len(retried)} put back into the queue")
    return 0


def _put_back(spool: Spool, one: Quarantined, recorder: Recorder) -> bool:
    item = one.entry.item
    try:
        spool.retry(one)
    except FileNotFoundError:  # somebody else did
        return False
    recorder.record(
        Kind.RETRIED,
        item=item.id,
        digest=item.digest,
        sop_instance_uid=item.sop_instance_uid,
        lane=one.entry.lane,
        destination="" if one.outlet.startswith("_") else one.outlet,
        detail=f"was in quarantine for: {one.reason}",
    )
    return True


def _chosen(spool: Spool, args: argparse.Namespace) -> list[Quarantined]:
    return [
        one
        for one in spool.quarantined()
        if args.outlet in (None, one.outlet) and args.reason in (None, one.reason)
    ]


def _named(found: Sequence[Quarantined] | Any, item: str) -> list[Quarantined]:
    """Those of `found` whose id begins with `item`; more than one only for one item."""
    fitting = [one for one in found if one.entry.item.id.startswith(item)]
    ids = {one.entry.item.id for one in fitting}
    if not fitting:
        raise NotFoundError(f"no item in quarantine has an id that begins with {item}")
    if len(ids) > 1:
        raise UsageError(f"{len(ids)} items have ids that begin with {item}; write more of it")
    return fitting


def _as_dict(one: Quarantined) -> dict[str, Any]:
    item = one.entry.item
    arrived_at: datetime = item.arrived_at
    return {
        "item": item.id,
        "outlet": one.outlet,
        "lane": str(one.entry.lane),
        "arrived_at": arrived_at,
        "reason": one.reason,
        "meaning": reasons.explain(one.reason),
    }


def _details(one: Quarantined) -> dict[str, Any]:
    path = one.entry.path
    details = _as_dict(one) | {"file": str(path), "size_bytes": path.stat().st_size}
    try:
        header = read_header(path)
    except DataError as error:
        return details | {"header": str(error)}
    details |= {
        "calling_aet": header.calling_aet,
        "called_aet": header.called_aet,
        "modality": header.modality,
        "sop_class": f"{header.sop_class_uid} {UID(header.sop_class_uid).name}",
        "transfer_syntax": f"{header.transfer_syntax_uid} {UID(header.transfer_syntax_uid).name}",
        "sop_instance_uid": header.sop_instance_uid,
        "series_instance_uid": header.series_instance_uid,
        "study_instance_uid": header.study_instance_uid,
    }
    return details | ({"header": header.problem} if header.problem else {})
