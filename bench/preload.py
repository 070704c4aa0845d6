"""Libraries that are preloaded into what is measured: the C sources beside this file, compiled."""

from __future__ import annotations

import subprocess
from pathlib import Path

from bench.contestants import tool
from bench.rows import Bench


def preload(bench: Bench, source: str) -> dict[str, str]:
    """The environment that has a program load what `source` is compiled to; "" for nothing."""
    if not source:
        return {}
    return {"LD_PRELOAD": str(bench.keep(source, lambda: _compile(bench.scratch, source)))}


def _compile(scratch: Path, source: str) -> Path:
    library = scratch / f"{source}.so"
    path = str(Path(__file__).with_name(source))
    command = [tool("gcc", "gcc"), "-shared", "-fPIC", "-O2", "-o", str(library), path]
    subprocess.run([*command, "-ldl", "-l:libcrypto.so.3"], check=True)
    return library
