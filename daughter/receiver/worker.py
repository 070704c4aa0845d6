"""One of the receiver's processes: takes connections from the port that all workers share.

The kernel hands each connection to one of them. A connection is a thread; hashing, writing and
fsync run without Python's lock, so that one worker serves several scanners at once, and several
workers use several cores.
"""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import threading
import time

from daughter.receiver.acceptance import Acceptance
from daughter.receiver.association import Association
from daughter.receiver.scp import Door
from daughter.receiver.seats import Seats
from daughter.receiver.wire import Wire
from tackybox import logs
from tackybox.config import DaughterConfig
from tackybox.service import Stop

_BACKLOG = 128
_BEAT_S = 5.0
_PREDECESSOR_S = 2.0
_LISTEN_AGAIN_S = 0.05
_FINISH_S = 20.0  # below the supervisor's patience
# Associations are dealt out evenly while they are few: two that share a worker share a core.
_FEW = 8
_AFTER_YOU_S = 0.005
_UNSEATED = 256  # connections beyond the associations allowed: they may yet be rejected politely
_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


def listen(config: DaughterConfig) -> socket.socket:
    """The port that all workers share; raises OSError if it can't be had."""
    family = socket.AF_INET6 if ":" in config.bind else socket.AF_INET
    until_s = time.monotonic() + _PREDECESSOR_S
    while True:
        try:
            listener = socket.create_server(
                (config.bind, config.port), family=family, backlog=_BACKLOG
            )
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() >= until_s:
                raise
            time.sleep(_LISTEN_AGAIN_S)  # a killed predecessor's workers are just dying
        else:
            listener.setblocking(False)
            return listener


class Worker:
    """Worker number `number`; `run` it in a process of its own."""

    def __init__(
        self,
        number: int,
        config: DaughterConfig,
        listener: socket.socket,
        seats: Seats,
        acceptance: Acceptance,
    ) -> None:
        self._number = number
        self._config = config
        self._listener = listener
        self._seats = seats
        self._acceptance = acceptance
        self._door = Door(config)
        self._associations: dict[threading.Thread, Association] = {}
        self._most = config.max_associations + _UNSEATED
        self._log = logs.get("receiver")

    def run(self, stop: Stop) -> None:
        """Serve until told to stop; then each message in hand is answered first."""
        self._seats.begin(self._number)
        while not stop.is_set():
            watched = (self._listener.fileno(), stop.fileno())
            if watched[0] in select.select(watched, (), (), _BEAT_S)[0]:
                self._accept()
        self._listener.close()
        self._finish()

    def _accept(self) -> None:
        if self._seats.fewest() < len(self._associations) <= _FEW:
            time.sleep(_AFTER_YOU_S)  # if no other worker takes it meanwhile, this one does
        try:
            sock, address = self._listener.accept()
        except OSError as error:  # another worker was faster, or the caller has gone
            if error.errno in _NO_DESCRIPTORS:
                self._log.error("can't take a connection", exc=error)
                time.sleep(1.0)  # or the loop would spin: the connection waits in the kernel
            return
        if len(self._associations) >= self._most and not self._make_room():
            sock.close()
            return
        thread = threading.Thread(target=self._serve, args=(sock, address[0]), daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # no thread left
            self._log.error("can't take a connection", exc=error)
            sock.close()

    def _make_room(self) -> bool:
        """Give up the connection that has been there longest without asking for an association.

        However many say nothing, who has something to say is heard.
        """
        return any(association.give_up() for association in list(self._associations.values()))

    def _serve(self, sock: socket.socket, peer_address: str) -> None:
        me, seated = threading.current_thread(), False

        def enter() -> bool:
            nonlocal seated
            seated = self._seats.take(self._number)
            return seated

        try:
            config = self._config
            silence_s = min(config.network_timeout_s, config.dimse_timeout_s)
            association = Association(
                Wire(sock, silence_s),
                self._door,
                self._acceptance,
                (peer_address, sock.getsockname()[0]),
                enter,
                config.max_pdu_bytes,
            )
            self._associations[me] = association
            association.run()
        except Exception as error:  # whatever it is, the other associations go on
            self._log.error("association failed", exc=error)
            sock.close()
        finally:
            self._associations.pop(me, None)
            if seated:
                self._seats.give_back(self._number)

    def _finish(self) -> None:
        until_s = time.monotonic() + _FINISH_S
        for thread, association in list(self._associations.items()):
            association.stop()
            with contextlib.suppress(RuntimeError):  # not started yet
                thread.join(max(0.0, until_s - time.monotonic()))
