"""The shell lines of README and docs, for the tests that run them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tests.tree import ROOT

README = ROOT / "README.md"
DOCUMENTS = [README, *sorted((ROOT / "docs").rglob("*.md"))]
IN_CONTAINERS = ("A site in a quarter of an hour", "Upgrading", "Several mothers, and swarm")


@dataclass(frozen=True)
class Block:
    """A fenced block of shell lines, and the words that stand before it."""

    document: Path
    text: str
    before: str


def blocks(sections: tuple[str, ...] = ()) -> list[Block]:
    """Every fenced `sh` block of every document: of these `## ` sections, or of all that need no
    container engine.
    """
    found = []
    for document in DOCUMENTS:
        text = document.read_text()
        for match in re.finditer(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            headings = re.findall(r"^## (.*)$", text[: match.start()], re.MULTILINE)
            section = headings[-1] if headings else ""
            if section in sections if sections else section not in IN_CONTAINERS:
                before = text[: match.start()].strip().rpartition("\n\n")[2]
                found.append(Block(document, match[1], before))
    return found
