"""The forwarder: landed items fanned out, one courier per archive group, the journal shipped; and
with a port of ours, a child that takes the archives' reports on storage commitment."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial

from mother.forwarder.board import Board
from mother.forwarder.courier import Courier
from mother.forwarder.proving import encoded
from mother.forwarder.watch import watch
from mysql_utilities import retention
from mysql_utilities.recorder import Recorder
from tackybox import fanout, logs, rebuild, service, shipping
from tackybox.config import ArchiveGroup, MotherConfig, load_mother
from tackybox.dimse.commitment import Report
from tackybox.dimse.reporting import Host, serve
from tackybox.pulse import Pulse
from tackybox.reasons import Reason
from tackybox.service import Stop
from tackybox.spool import BOX, Entry, Outlet, Receipt, ReceiptKind, ReceiptLog, Reports, Spool

_GRACE_S = 20.0  # below that of the forwarder's own children


def run() -> int:
    """Keep one forked child per duty at work until told to stop."""
    config = load_mother()
    logs.setup(config.name, "forwarder", config.log_level)
    stop = service.on_signals()
    spool = Spool.open(config.spool, "mother")
    with spool.workspace("forwarder"):  # one only
        return _keep_at_work(config, spool, stop)


def _keep_at_work(config: MotherConfig, spool: Spool, stop: Stop) -> int:
    children: dict[str, Callable[[Stop], None]] = {"fanout": partial(_fan_out, config, spool)}
    for group in config.archives:
        children[f"courier {group.name}"] = partial(_carry, config, group, spool)
    if config.report_port is not None:
        children["reports"] = partial(_take_reports, config, config.report_port, spool)
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
            tell=partial(_tell, spool),
        )


def _tell(spool: Spool, entry: Entry, reason: Reason) -> None:
    """Let the daughter know that an item can't be forwarded: she may have it whole."""
    receipt = Receipt.now(ReceiptKind.QUARANTINED, entry.item.name, f"{BOX} {reason}")
    ReceiptLog(spool.root, entry.item.origin).append([receipt])


def _carry(config: MotherConfig, group: ArchiveGroup, spool: Spool, stop: Stop) -> None:
    with (
        spool.work_outlet(group.name, config.backoff_cap_s) as outlet,
        spool.workspace(f"convert.{group.name}") as workspace,
    ):
        log = logs.get("forwarder")
        if items := outlet.recover():
            log.info("put back after an abrupt end", outlet=outlet.name, items=items)
        board = Board(outlet, config.associations, len(os.sched_getaffinity(0)))

        def deliver(number: int, stop: Stop) -> None:
            mine = outlet
            if number:
                mine = Outlet(spool.root, group.name, config.backoff_cap_s, helps=True)
            with Recorder(spool.journal, config.name) as recorder:
                Courier(config, group, spool, mine, workspace, recorder, stop, board, number).run()

        if board.processes == 1:
            deliver(0, stop)
            return
        name = f"courier {group.name}"
        couriers = {
            f"{name} {number + 1}" if number else name: partial(deliver, number)
            for number in range(board.processes)
        }
        pulse = Pulse(spool.root, "forwarder")
        # Together: what one had in hand is put back when none has anything in hand.
        sys.exit(service.supervise(
            couriers, stop, log, grace_s=_GRACE_S, pulse=pulse, together=True
        ))  # fmt: skip


def _take_reports(config: MotherConfig, port: int, spool: Spool, stop: Stop) -> None:
    reports = Reports(spool.root)
    reports.sweep()
    archives = [address for group in config.archives for address in group.alternatives]
    host = Host(config.aet, {address.aet for address in archives}, config.max_pdu_bytes)
    serve(host, config.report_bind, port, partial(_keep_report, reports), stop)


def _keep_report(reports: Reports, report: Report) -> None:
    reports.keep(report.transaction_uid, encoded(report))


if __name__ == "__main__":
    sys.exit(service.main(run))
