"""Many events as few INSERT statements, at a fraction of what binding each value costs.

Contract: each statement is the named one of sql/mysql.sql with as many lists of values as
MAX_CHARS allows, at least one. All values of a statement are joined to one text, which the driver
escapes as it does any value; the characters that join them are controls, which no clean value
holds, and become quotes, commas and NULLs only afterwards. Rows whose values hold such characters
are refused with ValueError. Numbers go as text, too, and are numbers again in their columns.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from mysql_utilities.events import FIELDS
from mysql_utilities.statements import statements

MAX_CHARS = 250_000
"""Of values in one statement: even at 4 bytes each below a MiB, which every server takes."""

_HEAD, _TAIL = re.split(r"\((?:%s, )*%s\)", statements("mysql.sql")["insert_event"])
_NEXT_VALUE, _NEXT_ROW, _NULL = "\x1f", "\x1e", "\x1d"  # ASCII's own separators
_ROW_SEPARATORS = len(FIELDS) - 1


def insert_statements(
    rows: Iterable[tuple[Any, ...]], quote: Callable[[str], str]
) -> Iterator[str]:
    """INSERTs of `rows`, each in the order of FIELDS; `quote` makes a literal of one text, as the
    server that they are for reads it."""
    texts: list[str] = []
    chars = 0
    for row in rows:
        text = _NEXT_VALUE.join([_NULL if value is None else str(value) for value in row])
        texts.append(text)
        chars += len(text)
        if chars >= MAX_CHARS:
            yield _statement(texts, quote)
            texts, chars = [], 0
    if texts:
        yield _statement(texts, quote)


def _statement(texts: list[str], quote: Callable[[str], str]) -> str:
    joined = _NEXT_ROW.join(texts)
    separators = joined.count(_NEXT_VALUE), joined.count(_NEXT_ROW)
    if separators != (_ROW_SEPARATORS * len(texts), len(texts) - 1):
        raise ValueError("a value holds a control character")
    values = quote(joined).replace(_NEXT_VALUE, "','").replace(_NEXT_ROW, "'),('")
    values = values.replace(f"'{_NULL}'", "NULL")
    return f"{_HEAD}({values}){_TAIL}"
