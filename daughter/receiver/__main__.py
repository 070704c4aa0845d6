"""The receiver: scanners' C-STORE in, durable items in the spool out."""

from __future__ import annotations

import sys

from daughter.receiver import scp
from daughter.receiver.acceptance import Acceptance
from mysql_utilities.recorder import Recorder
from tackybox import logs, service
from tackybox.config import load_daughter
from tackybox.errors import UnavailableError
from tackybox.spool import Spool


def run() -> int:
    """Receive until told to stop; an association in hand is finished first."""
    config = load_daughter()
    logs.setup(config.name, "receiver", config.log_level)
    log = logs.get("receiver")
    stop = service.on_signals()
    spool = Spool.open(config.spool)
    with (
        spool.workspace("receiver") as workspace,
        Recorder(spool.journal, config.name) as recorder,
    ):
        acceptance = Acceptance(spool, workspace, config.name, config.min_free_mib << 20, recorder)
        try:
            server = scp.start(config, acceptance)
        except OSError as error:
            raise UnavailableError(
                f"TACKYBOX_PORT: port {config.port} can't be listened on: {error.strerror}; "
                "stop what has it, or set another port"
            ) from error
        log.info("listening", port=config.port, aet=config.aet)
        stop.wait()
        scp.finish(server, acceptance)
        log.info("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(service.main(run))
