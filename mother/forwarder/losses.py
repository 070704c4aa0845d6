"""Items that an archive will not take while it takes others: after a while it is about the item."""

from __future__ import annotations

import threading
from collections import OrderedDict

_REMEMBERED_ITEMS = 1000


class Losses:
    """Items that the archive did not take or broke off upon, while it went on to take others.

    In memory only: forgetting it costs a few more attempts. Shared by the carriers of one process:
    what another one, that only helps, has tried once comes to this one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stored = 0
        self._by_item: OrderedDict[str, tuple[int, int]] = OrderedDict()

    def stored(self) -> None:
        """Another item went through."""
        with self._lock:
            self._stored += 1

    def lost(self, item_id: str, limit: int) -> bool:
        """This item was not taken; True if, after `limit` times, it is clearly about the item."""
        with self._lock:
            losses, stored_before = self._by_item.pop(item_id, (0, self._stored))
            self._by_item[item_id] = (losses + 1, stored_before)
            if len(self._by_item) > _REMEMBERED_ITEMS:
                self._by_item.popitem(last=False)
            return losses + 1 >= limit and self._stored > stored_before
