"""`tackybox proof STUDY`: a delivery certificate: what the journals prove of each image's way.

Exit code 0 if every image on record is proved as far as every archive, 1 where a proof has a gap,
66 if nothing is on record. Does not prove that all that the modality made was sent, nor that an
archive still has it: `verify --archive` asks it for that.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.text import Text

from mysql_utilities.reports import Source
from tackybox import keys
from tackybox.commands import certificate, output
from tackybox.commands.sources import add_source_arguments, find, sources_of
from tackybox.config import DaughterConfig, load_box
from tackybox.errors import NotFoundError, UsageError

NAME = "proof"
HELP = "certify how each image of a study was delivered; exit code 1 where the proof has a gap"

SIGNED_FOR = "tackybox-certificate"
_MOST_ROWS = 50


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("study", metavar="STUDY", help="Study Instance UID")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="write the certificate into this new file"
    )
    parser.add_argument(
        "--sign", action="store_true",
        help="sign the file with this box's ssh key; the signature is FILE.sig",
    )  # fmt: skip
    parser.add_argument("--images", action="store_true", help="show every image, not the gaps only")
    add_source_arguments(parser)
    parser.add_argument("--json", action="store_true", help="write the certificate as JSON")


def run(args: argparse.Namespace) -> int:
    """Certify; 0, or 1. Raises NotFoundError, UsageError."""
    if args.sign and not args.out:
        raise UsageError("what is signed is a file; name it with --out FILE")
    config = load_box() if args.sign else None
    with sources_of(args) as sources:
        certified = of_study(sources, args.study)
    if args.out:
        write(certified, args.out)
    if config is not None:
        key = config.ssh_key if isinstance(config, DaughterConfig) else config.host_key
        keys.sign(args.out, key, SIGNED_FOR)
    if args.json:
        output.write_json(certified)
    else:
        _print(certified, every=args.images)
    return int(certified["images_proved"] < certified["images_on_record"])


def of_study(sources: Sequence[Source], study: str) -> dict[str, Any]:
    """The certificate of `study` from these journals; raises NotFoundError."""
    histories = [one for one in find(sources, study) if one.first("study_instance_uid") == study]
    certified = certificate.certify(study, histories)
    if not certified["images"]:
        raise NotFoundError("nothing on record of this study; name it by its Study Instance UID")
    return certified


def write(certified: dict[str, Any], path: Path) -> None:
    """Write it into a new file; raises UsageError if that is there already, or can't be."""
    try:
        with path.open("x", encoding="ascii") as file:
            file.write(certificate.as_text(certified))
    except FileExistsError:
        raise UsageError(f"{path} is there already; name a new file with --out") from None
    except OSError as error:
        raise UsageError(f"{path} can't be written: {error.strerror}") from None


def _print(certified: dict[str, Any], *, every: bool) -> None:
    console = output.console()
    proved, count = certified["images_proved"], certified["images_on_record"]
    console.print(output.cell(f"Study {certified['study_instance_uid']}"))
    console.print(f"{proved} of {count} images proved, by the records of:", end=" ")
    console.print(", ".join(certified["boxes_on_record"]))
    shown = [one for one in certified["images"] if every or one["gaps"]]
    columns = ["SOP instance", "content", "received (UTC)", "at the mother", "archives", "verdict"]
    table = output.table("", columns)
    for one in shown if every else shown[:_MOST_ROWS]:
        mother = one["at_mother"][0]["at"] if one["at_mother"] else ""
        cells = [
            one["sop_instance_uid"], one["content_sha256"][:16], one["received"]["at"][:19],
            mother[:19], "\n".join(map(_answer, one["archives"])),
        ]  # fmt: skip
        verdict = "\n".join(one["gaps"]) or "proved"
        style = "yellow" if one["gaps"] else ""
        table.add_row(*(_lines(cell) for cell in [*cells, verdict]), style=style)
    if table.row_count:
        console.print(table)
    if len(shown) > table.row_count:
        console.print(f"… and {len(shown) - table.row_count} more; --images shows all")
    console.print(f"sha256 of this certificate: {certified['sha256']}")


def _lines(text: str) -> Text:
    return Text("\n").join(output.cell(line) for line in text.split("\n"))


def _answer(archive: dict[str, Any]) -> str:
    answer = str(archive["archive"])
    if archive["status"] is not None:
        answer += f" 0x{archive['status']:04X}"
    if archive["answered_at"]:
        answer += f" {archive['answered_at'][:19]}"
    return answer + (", committed" if archive["committed_at"] else "")
