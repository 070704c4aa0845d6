"""The watchdog: rings the spool's bell when something appears under `new/`.

Only a hint. inotify loses events when there are many, gives none for what was there before and
none on some network file systems; who waits for the bell also looks by itself every few seconds.
"""

from __future__ import annotations

from watchdog.events import (
    FileCreatedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer

from tackybox import logs
from tackybox.spool import Lane, Spool


class _Ringer(FileSystemEventHandler):
    def __init__(self, spool: Spool) -> None:
        self._spool = spool

    def on_created(self, event: FileSystemEvent) -> None:
        self._spool.bell.ring()

    def on_moved(self, event: FileSystemEvent) -> None:
        self._spool.bell.ring()


def watch(spool: Spool) -> None:
    """Watch `<spool>/new/<lane>/` until this process ends; where the kernel can't, only say so."""
    observer = Observer()
    ringer = _Ringer(spool)
    try:
        for lane in Lane:
            # The kernel keeps all else to itself: that fan-out opens and reads each item.
            observer.schedule(
                ringer, str(spool.root / "new" / lane),
                event_filter=[FileCreatedEvent, FileMovedEvent],
            )  # fmt: skip
        observer.start()  # a daemon thread
    except OSError as error:  # no watch or instance left: fs.inotify.max_user_watches
        logs.get("watch").warning("can't watch, rescans only", exc=error)
