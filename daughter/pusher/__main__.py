"""The pusher: mothers joined, items fanned out, one courier per outlet, modalities' storage
commitment answered, the journal shipped."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

from daughter.pusher import joining, keeping
from daughter.pusher.courier import Courier
from mysql_utilities import retention
from mysql_utilities.recorder import Recorder
from tackybox import fanout, logs, rebuild, service, shipping
from tackybox.config import DaughterConfig, MotherGroup, load_daughter
from tackybox.pulse import Pulse
from tackybox.service import Stop
from tackybox.spool import Spool


def run() -> int:
    """Keep one forked child per duty at work until told to stop."""
    config = load_daughter()
    logs.setup(config.name, "pusher", config.log_level)
    stop = service.on_signals()
    spool = Spool.open(config.spool, "daughter")
    with spool.workspace("pusher"):  # one only
        return _keep_at_work(config, spool, stop)


def _keep_at_work(config: DaughterConfig, spool: Spool, stop: Stop) -> int:
    children: dict[str, Callable[[Stop], None]] = {"fanout": partial(_fan_out, config, spool)}
    for group in config.destinations:
        children[f"courier {group.name}"] = partial(_carry, config, group, spool)
    if config.commitment_timeout_s:
        children["commitment"] = partial(_answer_commitment, config, spool)
    pulse = Pulse(spool.root, "pusher")
    pulse.expect(children)  # not the shipper: a database tells nothing about the relay's health
    if left := joining.join_all(config.join or (), config, stop):
        children["joiner"] = partial(joining.keep_trying, left, config)
    if config.sql is not None:
        children["shipper"] = partial(shipping.run, config)
    return service.supervise(children, stop, logs.get("pusher"), pulse=pulse)


def _fan_out(config: DaughterConfig, spool: Spool, stop: Stop) -> None:
    retention.start(spool.journal, config.journal_days, config.sql, stop)
    keeping.start(spool, config, stop)
    with Recorder(spool.journal, config.name) as recorder:
        rebuild.start(spool, config.name, recorder, stop)
        fanout.run(
            spool,
            [group.name for group in config.destinations],
            config.lanes,
            recorder,
            stop,
            wait=lambda timeout_s: spool.bell.wait(timeout_s, stop),
        )


def _answer_commitment(config: DaughterConfig, spool: Spool, stop: Stop) -> None:
    from daughter.pusher import commitment  # noqa: PLC0415 - pynetdicom, in this child alone

    commitment.run(config, spool, stop)


def _carry(config: DaughterConfig, group: MotherGroup, spool: Spool, stop: Stop) -> None:
    with (
        spool.work_outlet(group.name) as outlet,
        Recorder(spool.journal, config.name) as recorder,
    ):
        Courier(config, group, spool, outlet, recorder, stop).run()


if __name__ == "__main__":
    sys.exit(service.main(run))
