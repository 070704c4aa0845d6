"""Whether compressing a batch on the way pays: decided on the data and the link, not assumed."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from tackybox.spool import Entry

_SAMPLE_BYTES = 65_536
_SAMPLES = 3
_WORTH_RATIO = 0.85
# One core compresses several times as fast (zstd -1); but other rsyncs and the link's crypto want
# it too, and what a short push achieves is below what its link could do.
_FAST_LINK_BYTES_S = 30e6


def pays(entries: Sequence[Entry], rate_bytes_s: float | None) -> bool:
    """Whether the files of `entries` shrink enough for a link of `rate_bytes_s` (None: unknown).

    Looks at a piece from the middle of a few of them. Files that vanish don't count.
    """
    if rate_bytes_s is None or rate_bytes_s > _FAST_LINK_BYTES_S:
        return False
    read = packed = 0
    for entry in entries[:: max(1, len(entries) // _SAMPLES)][:_SAMPLES]:
        try:
            with entry.path.open("rb") as file:
                file.seek(max(0, entry.path.stat().st_size - _SAMPLE_BYTES) // 2)
                piece = file.read(_SAMPLE_BYTES)
        except FileNotFoundError:
            continue
        read += len(piece)
        packed += len(zlib.compress(piece, level=1))
    return read > 0 and packed < read * _WORTH_RATIO
