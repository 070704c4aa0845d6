"""Whether compressing a batch on the way pays: measured on the data and the link, not assumed.

Pushes are compared by what they achieved, in bytes of content per second. On a slow link
compressing wins by about what it saves; on a fast one a core compresses slower than the link takes.
Where pushes are slow it always pays, so the other way is tried only where they are fast, and where
to be wrong for a moment costs little. Until something is known data that shrinks is compressed.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Sequence

from tackybox.spool import Entry

_SAMPLE_BYTES = 16_384
_SAMPLES = 3
_WORTH_RATIO = 0.85
# A core compresses more than ten times as fast (zstd -1): the link is what such a push waits for.
_SLOW_BYTES_S = 20e6
# Both boxes' processors are wanted for other things as well.
_WORTH_GAIN = 1.2
_TELLING_BYTES = 4 << 20  # a smaller push tells of round trips
_TELLING_PUSHES = 64  # then the other way is tried again
_DECAY = 0.9


class Compression:
    """What pushes over one road have achieved with and without; its courier's threads share it."""

    def __init__(self) -> None:
        self._best_bytes_s: dict[bool, float] = {}
        self._pushes = 0

    def pays(self, entries: Sequence[Entry]) -> bool:
        """Whether `entries` are to be compressed."""
        packed, plain = self._best_bytes_s.get(True), self._best_bytes_s.get(False)
        if packed is None or packed < _SLOW_BYTES_S:
            better = True
        elif plain is None:
            better = False
        else:
            better = packed > plain * _WORTH_GAIN
            if self._pushes % _TELLING_PUSHES == 0:
                better = not better
        return better and _shrinks(entries)

    def note(self, compressed: bool, size_bytes: int, duration_s: float) -> None:
        """A push of `size_bytes` of content took `duration_s`."""
        if size_bytes < _TELLING_BYTES:
            return
        rate_bytes_s = size_bytes / max(duration_s, 1e-3)
        best_bytes_s = self._best_bytes_s.get(compressed, 0.0) * _DECAY
        self._best_bytes_s[compressed] = max(rate_bytes_s, best_bytes_s)
        self._pushes += 1


def _shrinks(entries: Sequence[Entry]) -> bool:
    """Looks at a piece from the middle of a few of them. Files that vanish don't count."""
    read = packed = 0
    for entry in entries[:: max(1, len(entries) // _SAMPLES)][:_SAMPLES]:
        with contextlib.suppress(FileNotFoundError), entry.path.open("rb") as file:
            file.seek(max(0, entry.path.stat().st_size - _SAMPLE_BYTES) // 2)
            piece = file.read(_SAMPLE_BYTES)
            read += len(piece)
            packed += len(zlib.compress(piece, level=1))
    return read > 0 and packed < read * _WORTH_RATIO
