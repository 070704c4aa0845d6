"""The line that `tackybox enrol` prints on a mother, and that lets one daughter join her, once.

    line = "tackybox-join" name user "@" host ":" port key-type key code

`name` is the daughter's, `key-type key` the mother's host key, `code` 64 bytes (tackybox.keys) in
base64url without padding (RFC 4648 section 5). Whoever has the code can join in the daughter's
place until it is used or has run out; so `str` and `repr` leave it out, and no error quotes it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass, field

from tackybox.config import values
from tackybox.config.addresses import MotherAddress, MotherGroup, parse_mother
from tackybox.keys import CODE_BYTES, PublicKey

FIRST_WORD = "tackybox-join"
_WORDS = 6
_COPY = f"copy all of the line that begins with {FIRST_WORD}"


@dataclass(frozen=True, slots=True)
class JoinLine:
    """What a daughter must know to join a mother."""

    name: str
    address: MotherAddress
    host_key: PublicKey
    code: bytes = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> JoinLine:
        """Raises ValueError "what is wrong; what to do"."""
        words = text.split()
        if not words or words[0] != FIRST_WORD:
            raise ValueError(f"is no line of tackybox enrol; {_COPY}")
        if len(words) < _WORDS:
            raise ValueError(f"is cut off; {_COPY}")
        if len(words) > _WORDS:
            raise ValueError("holds more than one line; part them with ;")
        _, name, address, kind, key, code = words
        return cls(
            values.box_name(name), parse_mother(address), PublicKey.parse(f"{kind} {key}"),
            _decoded(code),
        )  # fmt: skip

    def text(self) -> str:
        """The line itself, its code included."""
        code = base64.urlsafe_b64encode(self.code).decode().rstrip("=")
        return f"{FIRST_WORD} {self.name} {self.address} {self.host_key} {code}"

    @property
    def mark(self) -> str:
        """A word that tells this line from every other and gives nothing of it away."""
        return f"joined-{hashlib.sha256(self.text().encode()).hexdigest()[:12]}"

    def __str__(self) -> str:
        return f"{self.name} at {self.address} (code ***)"


def parse_joins(raw: object) -> tuple[JoinLine, ...]:
    """Lines parted by ; or newlines, or a list in YAML; raises ValueError."""
    if isinstance(raw, list):
        raw = "\n".join(part if isinstance(part, str) else "" for part in raw)
    if not isinstance(raw, str):
        raise ValueError(f"is not text; {_COPY}")
    lines = tuple(JoinLine.parse(text) for text in re.split(r"[;\n]", raw) if text.strip())
    seen: set[str] = set()
    for line in lines:
        if line.address.name in seen:
            raise ValueError(f"has two lines for {line.address}; keep the newer one")
        seen.add(line.address.name)
    return lines


def as_destinations(lines: tuple[JoinLine, ...]) -> tuple[MotherGroup, ...]:
    """Every mother of `lines`, each an outlet of her own."""
    return tuple(MotherGroup((line.address,)) for line in lines)


def _decoded(code: str) -> bytes:
    padded = code + "=" * (-len(code) % 4)
    try:
        data = base64.b64decode(padded, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if len(data) != CODE_BYTES:
        raise ValueError(f"has a code that is cut off or changed; {_COPY}")
    return data
