"""Frees kept copies: those that are older than `keep_days`, and the oldest when space is low.

Well before the receiver would refuse images for want of space: a kept copy owes nobody anything.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta

from tackybox import logs
from tackybox.config import DaughterConfig
from tackybox.service import Stop
from tackybox.spool import Kept, Spool

_TICK_S = 2.0
_FORGET_EVERY_S = 3600.0


def start(spool: Spool, config: DaughterConfig, stop: Stop) -> None:
    """Look now and every few seconds, in a thread of this process; for one process of a box."""
    arguments = (spool, config, stop)
    threading.Thread(target=_run, args=arguments, name="keeping", daemon=True).start()


def forget(spool: Spool, keep_days: int) -> int:
    """Free what arrived longer ago; all of it for 0. Returns how many."""
    return Kept(spool.root).forget_before(datetime.now(UTC) - timedelta(days=keep_days))


def make_room(spool: Spool, kept: Kept, least_bytes: int) -> int:
    """Free the oldest kept copies until `least_bytes` are free; returns how many."""
    missing_bytes = least_bytes - spool.space().free_bytes
    return kept.free(missing_bytes) if missing_bytes > 0 else 0


def _run(spool: Spool, config: DaughterConfig, stop: Stop) -> None:
    log, kept = logs.get("keeping"), Kept(spool.root)
    forget_at_s = time.monotonic()
    while not stop.is_set():
        try:
            if time.monotonic() >= forget_at_s:
                forget_at_s += _FORGET_EVERY_S
                if count := forget(spool, config.keep_days):
                    log.info("kept copies freed", items=count)
            # Twice what the receiver wants free, as where copies are released early.
            if config.keep_days and (count := make_room(spool, kept, config.min_free_mib << 21)):
                log.warning("low space: kept copies freed", items=count)
        except OSError as error:
            log.warning("kept copies could not be freed", exc=error)
        stop.wait(_TICK_S)
