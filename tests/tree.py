"""The files of this repository, without those that hardlink_builder.sh links."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parent.parent


def python_files(directory: Path) -> list[Path]:
    """Python files under `directory`, sorted."""
    return sorted(p for p in directory.rglob("*.py") if "docker-context" not in p.parts)
