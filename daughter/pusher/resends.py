"""Items that are sent again one by one, because they arrived damaged or went bad at the mother.

How often is bounded, so that a mother whose disk or memory alters what it keeps is not sent the
same for ever. And one that is on its way again is not sent twice, however many of her archives'
queues find the same bad file.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

MOST = 5
_REMEMBERED = 1000


class Resends:
    """In memory only: forgetting it costs a few more attempts. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: OrderedDict[str, int] = OrderedDict()
        self._on_the_way: OrderedDict[tuple[str, str], None] = OrderedDict()

    def may_go_again(self, item_name: str) -> bool:
        """Count one more; whether that is at most MOST of late."""
        with self._lock:
            count = self._counts.pop(item_name, 0) + 1
            self._counts[item_name] = count
            if len(self._counts) > _REMEMBERED:
                self._counts.popitem(last=False)
            return count <= MOST

    def begin(self, peer: str, item_name: str) -> None:
        """It is to take the place of what `peer` has."""
        with self._lock:
            self._on_the_way[peer, item_name] = None
            if len(self._on_the_way) > _REMEMBERED:
                self._on_the_way.popitem(last=False)

    def has_landed(self, peer: str, item_name: str) -> None:
        """`peer` has signed for it, maybe again."""
        if self._on_the_way:
            with self._lock:
                self._on_the_way.pop((peer, item_name), None)

    def is_on_the_way(self, peer: str, item_name: str) -> bool:
        """Whether it was begun, and `peer` has not signed for it since."""
        with self._lock:
            return (peer, item_name) in self._on_the_way
