"""Row: what the disk and the processor of this machine take for CT images, without any network.

The least that is done to each image if it is to be durable and its digest known, by one process in
the simplest loop: what a receiver or sender of whatever kind can at most reach here with them. A
receiver that does some of it while bytes still come can hide that part, on another core.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.corpora import CT, Image
from bench.rows import Bench, Figures, Row

_IMAGES = 1000


def _write(directory: Path, image: Image, content: bytes) -> int:
    file = os.open(directory / image.path.name, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    os.write(file, content)
    return file


def _cached(directory: Path, image: Image, content: bytes) -> None:
    os.close(_write(directory, image, content))


def _durable(directory: Path, image: Image, content: bytes) -> None:
    file = _write(directory, image, content)
    os.fsync(file)
    os.close(file)
    entry = os.open(directory, os.O_RDONLY)
    os.fsync(entry)
    os.close(entry)


def _durable_with_digest(directory: Path, image: Image, content: bytes) -> None:
    hashlib.sha256(content)
    _durable(directory, image, content)


def _digest_of_file(_: Path, image: Image, __: bytes) -> None:
    hashlib.sha256(image.path.read_bytes())


_STEPS: dict[str, Callable[[Path, Image, bytes], None]] = {
    "written, in the kernel's cache": _cached,
    "written, file and directory durable": _durable,
    "the same, and SHA-256": _durable_with_digest,
    "read from the kernel's cache, and SHA-256": _digest_of_file,
}


def _measure(bench: Bench, contestant: str) -> Figures:
    images = bench.corpora.of(CT, bench.count(_IMAGES))
    content = images[0].path.read_bytes()
    for image in images:
        image.path.read_bytes()  # into the cache, as what has just come is
    with tempfile.TemporaryDirectory(dir=bench.scratch) as name:
        os.sync()
        began_s, cpu_s = time.perf_counter(), time.process_time()
        for image in images:
            _STEPS[contestant](Path(name), image, content)
        took_s = time.perf_counter() - began_s
        cpu_s = time.process_time() - cpu_s
    return {
        "images_per_s": len(images) / took_s,
        "cpu_s_per_1000": cpu_s / len(images) * 1000,
    }


ROWS = (
    Row(
        "limits",
        "the least that is done to a CT image, without network and protocol",
        f"{_IMAGES} CT images one after the other, one process",
        tuple(_STEPS),
        _measure,
    ),
)
