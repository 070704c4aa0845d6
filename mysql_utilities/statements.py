"""Reads the named SQL statements of `sql/*.sql`.

A statement begins at a line `-- name: <name>` and ends at the next one; the comment lines that
follow the name say what it is for. Parameters are written `:name`, as SQLite takes them.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import resources

_NAME = re.compile(r"^-- name: (\w+)[ \t]*$", re.MULTILINE)
_COMMENT = re.compile(r"--[^\n]*")
_PARAMETER = re.compile(r"(?<![:\w]):([a-z_]+)")


def script(file_name: str) -> str:
    """A whole SQL file. Raises FileNotFoundError if the package lacks it."""
    return resources.files(__package__).joinpath("sql", file_name).read_text(encoding="utf-8")


@cache
def statements(file_name: str) -> dict[str, str]:
    """The statements of one SQL file by name, comments removed."""
    parts = _NAME.split(script(file_name))
    return {
        name: _COMMENT.sub("", body).strip().rstrip(";")
        for name, body in zip(parts[1::2], parts[2::2], strict=True)
    }


def for_pymysql(statement: str) -> str:
    """The same statement with `:name` as PyMySQL's `%(name)s`."""
    return _PARAMETER.sub(r"%(\1)s", statement.replace("%", "%%"))
