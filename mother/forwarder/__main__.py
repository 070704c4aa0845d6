"""The forwarder: landed items fanned out, one courier per archive group, the journal shipped."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

from mother.forwarder.courier import Courier
from mother.forwarder.watch import watch
from mysql_utilities import retention
from mysql_utilities.recorder import Recorder
from tackybox import fanout, logs, rebuild, service, shipping
from tackybox.config import ArchiveGroup, MotherConfig, load_mother
from tackybox.pulse import Pulse
from tackybox.service import Stop
from tackybox.spool import Spool


def run() -> int:
    """Keep one forked child per duty at work until told to stop."""
    config = load_mother()
    logs.setup(config.name, "forwarder", config.log_level)
    stop = service.on_signals()
    spool = Spool.open(config.spool)
    children: dict[str, Callable[[Stop], None]] = {"fanout": partial(_fan_out, config, spool)}
    for group in config.archives:
        children[f"courier {group.name}"] = partial(_carry, config, group, spool)
    pulse = Pulse(spool.root, "forwarder")
    pulse.expect(children)  # not the shipper: a database tells nothing about the relay's health
    if config.sql is not None:
        children["shipper"] = partial(shipping.run, config)
    return service.supervise(children, stop, logs.get("forwarder"), pulse=pulse)


def _fan_out(config: MotherConfig, spool: Spool, stop: Stop) -> None:
    watch(spool)
    retention.start(spool.journal, config.journal_days, config.sql, stop)
    with Recorder(spool.journal, config.name) as recorder:
        rebuild.start(spool, config.name, recorder, stop)
        fanout.run(
            spool,
            [group.name for group in config.archives],
            config.lanes,
            recorder,
            stop,
            wait=lambda timeout_s: spool.bell.wait(min(timeout_s, config.rescan_interval_s), stop),
        )


def _carry(config: MotherConfig, group: ArchiveGroup, spool: Spool, stop: Stop) -> None:
    with (
        spool.work_outlet(group.name, config.backoff_cap_s) as outlet,
        spool.workspace(f"convert.{group.name}") as workspace,
        Recorder(spool.journal, config.name) as recorder,
    ):
        Courier(config, group, spool, outlet, workspace, recorder, stop).run()


if __name__ == "__main__":
    sys.exit(service.main(run))
