"""The receiver: scanners' C-STORE in, durable items in the spool out."""

from __future__ import annotations

import os
import socket
import sys
from functools import partial
from pathlib import Path

from daughter.receiver.acceptance import Acceptance
from daughter.receiver.seats import Seats
from daughter.receiver.worker import Worker, listen
from mysql_utilities.events import Kind
from mysql_utilities.recorder import Recorder
from tackybox import logs, service
from tackybox.config import DaughterConfig, load_daughter
from tackybox.errors import UnavailableError
from tackybox.pulse import Pulse
from tackybox.reasons import Reason
from tackybox.service import Stop
from tackybox.spool import Entry, Spool

_MOST_WORKERS = 8  # chosen by itself; more can be set


def run() -> int:
    """Keep the workers at work until told to stop."""
    config = load_daughter()
    logs.setup(config.name, "receiver", config.log_level)
    log = logs.get("receiver")
    stop = service.on_signals()
    spool = Spool.open(config.spool, "daughter")
    workers = config.workers or min(len(os.sched_getaffinity(0)), _MOST_WORKERS)
    with spool.workspace("receiver", partial(_note_torn, config, spool)) as workspace:
        try:
            listener = listen(config)
        except OSError as error:
            why = os.strerror(error.errno or 0)
            raise UnavailableError(
                f"TACKYBOX_PORT: port {config.port} can't be listened on: {why}; "
                "stop what has it, or set another port"
            ) from error
        log.info("listening", port=config.port, aet=config.aet)
        seats = Seats(config.max_associations, workers)
        children = {
            f"receiver {number}": partial(
                _receive, number, config, listener, seats, spool, workspace
            )
            for number in range(workers)
        }
        pulse = Pulse(spool.root, "receiver")
        pulse.expect(children)
        service.supervise(children, stop, log, pulse=pulse)
        log.info("stopped")
    return 0


def _note_torn(config: DaughterConfig, spool: Spool, entry: Entry) -> None:
    """A power cut has torn what may have been answered: on record, as all else in quarantine."""
    with Recorder(spool.journal, config.name) as recorder:  # ended before anything is forked
        recorder.record(
            Kind.QUARANTINED, item=entry.item.id, digest=entry.item.digest, lane=entry.lane,
            sop_instance_uid=entry.item.sop_instance_uid,
            detail=f"{Reason.DIGEST_DIFFERS}: torn by a power cut before it was whole on the disk",
        )  # fmt: skip
    logs.get("receiver").error("quarantined", item=entry.item.id, reason=Reason.DIGEST_DIFFERS)


def _receive(
    number: int,
    config: DaughterConfig,
    listener: socket.socket,
    seats: Seats,
    spool: Spool,
    workspace: Path,
    stop: Stop,
) -> None:
    with Recorder(spool.journal, config.name) as recorder:
        acceptance = Acceptance(spool, workspace, config.name, config.min_free_mib << 20, recorder)
        Worker(number, config, listener, seats, acceptance).run(stop)


if __name__ == "__main__":
    sys.exit(service.main(run))
