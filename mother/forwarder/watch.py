"""The watchdog: rings the spool's bell when something appears under `new/`.

Only a hint. inotify loses events when there are many, gives none for what was there before and
none on some network file systems; who waits for the bell also looks by itself every few seconds.
"""

from __future__ import annotations

from watchdog.events import FileCreatedEvent, FileSystemEvent, FileSystemEventHandler
from watchdog.observers.api import BaseObserver
from watchdog.observers.inotify import InotifyEmitter
from watchdog.observers.inotify_c import InotifyConstants, Mask

from tackybox import logs
from tackybox.spool import Lane, Spool


class _Arrivals(InotifyEmitter):
    """Of all that the kernel could tell, only what appears.

    Each item that fan-out itself takes away would cost it as much again as the item's arrival.
    """

    def get_event_mask_from_filter(self) -> Mask:
        return Mask(super().get_event_mask_from_filter() & ~InotifyConstants.IN_MOVED_FROM)


class _Ringer(FileSystemEventHandler):
    def __init__(self, spool: Spool) -> None:
        self._spool = spool

    def on_created(self, event: FileSystemEvent) -> None:
        self._spool.bell.ring()


def watch(spool: Spool) -> None:
    """Watch `<spool>/new/<lane>/` until this process ends; where the kernel can't, only say so."""
    observer = BaseObserver(_Arrivals)
    ringer = _Ringer(spool)
    try:
        for lane in Lane:
            # A file that is moved in counts as created.
            directory = str(spool.root / "new" / lane)
            observer.schedule(ringer, directory, event_filter=[FileCreatedEvent])
        observer.start()  # a daemon thread
    except OSError as error:
        logs.get("watch").warning(
            "can't watch, rescans only",
            setting="fs.inotify.max_user_instances, fs.inotify.max_user_watches",
            exc=error,
        )
