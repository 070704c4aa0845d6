"""A whole relay under fault: a daughter, a mother and archives, with times made short.

    with Relay(tmp_path) as relay:
        with relay.sending(relay.images(100), senders=4) as scanners:
            scanners.wait_answered(30)
            relay.mother.inbox.signal(signal.SIGKILL)
            relay.heal()
            scanners.wait_done()
        relay.wait_quiet()
        record(relay.verdict(), faults=1)

Everything lives below `workdir`: `relay.stack` (tackybox.demo.stack), `relay.daughter`,
`relay.mother` (their `.spool` and daemons), `relay.archives` (scripted ones, each with its log),
`relay.ledger`. A Daemon's `command` and `settings` may be changed before it is started again, as by
`relay.restart(daemon, prefix=["env", "LD_PRELOAD=…"], port=11112)`.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tackybox.demo.stack import LOOPBACK, Daemon, Stack, free_port
from tests.faults import scanner, verdict
from tests.faults.images import write_images
from tests.faults.ledger import Ledger
from tests.faults.processes import Process, processes_of
from tests.faults.verdict import Archive, Verdict
from tests.peers import require

DAUGHTER = {
    "receipts_interval_s": 0.2, "backoff_cap_s": 1, "network_timeout_s": 5, "dimse_timeout_s": 5,
    "workers": 1, "parallel": 2, "min_free_mib": 1,
}  # fmt: skip
MOTHER = {
    "backoff_cap_s": 1, "rescan_interval_s": 0.3, "dimse_timeout_s": 5, "connect_timeout_s": 2,
    "echo_interval_s": 1, "min_free_mib": 1,
}  # fmt: skip
_LOOK_AGAIN_S = 0.3
_JOURNAL_S = 10.0


class Relay:
    """See the module. `daughter_settings` and `mother_settings` go before the short ones here, a
    `spool` on a disk of the test's own too. `mother_through` and `archive_through` are told the
    port on loopback where the mother's sshd (each archive) listens, and return the one that is to
    be called instead: a proxy's."""

    def __init__(
        self,
        workdir: Path,
        *,
        archives: int = 1,
        archive_options: Sequence[str] = (),
        daughter_settings: Mapping[str, object] | None = None,
        mother_settings: Mapping[str, object] | None = None,
        mother_through: Callable[[int], int] | None = None,
        archive_through: Callable[[int], int] | None = None,
    ) -> None:
        require("sshd", "openssh-server")
        require("rrsync", "rsync")
        self.workdir = workdir
        self.ledger = Ledger()
        self.stack = Stack(workdir)
        self._images = 0
        daughter = {**DAUGHTER, **(daughter_settings or {})}
        mother = {**MOTHER, **(mother_settings or {})}
        try:
            self.stack.daughter_key("north")
            self.archives = [
                self._archive(number, archive_options, archive_through)
                for number in range(1, archives + 1)
            ]
            addresses = ";".join(archive.address for archive in self.archives)
            mother_box = self.stack.start_mother("mother", addresses, **mother)
            self.mother = replace(
                mother_box, spool=Path(str(mother.get("spool", mother_box.spool)))
            )
            destination = self.mother.destination
            if mother_through is not None:
                destination = self._through(destination, mother_through)
            box = self.stack.start_daughter("north", destination, **daughter)
            self.daughter = replace(box, spool=Path(str(daughter.get("spool", box.spool))))
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End everything, frozen or not."""
        self.thaw()
        self.stack.stop()
        for process in self.processes():  # sshd's sessions outlive a killed listener
            process.signal(signal.SIGKILL)

    # --- what is sent

    def images(self, count: int, *, size_bytes: int = 8192, seed: int = 0) -> list[Path]:
        """`count` new images, unlike all others of this relay; the same for the same `seed`."""
        self._images += 1
        directory = self.workdir / f"images-{self._images}"
        return write_images(directory, count, seed=seed, size_bytes=size_bytes, study=self._images)

    def send(self, paths: Sequence[Path], *, priority: int = 0) -> list[int | None]:
        """Offer `paths` over one association, each once; the statuses, None where none came."""
        daughter = self.daughter
        return scanner.send(self.ledger, daughter.port, daughter.aet, paths, priority=priority)

    @contextlib.contextmanager
    def sending(
        self, paths: Sequence[Path], *, senders: int = 2, pause_s: float = 0.0
    ) -> Iterator[scanner.Scanners]:
        """Scanners that send `paths` while the block runs, each image until it is answered 0x0000,
        `pause_s` apart."""
        daughter = self.daughter
        scanners = scanner.Scanners(
            self.ledger, daughter.port, daughter.aet, paths, senders, pause_s
        )
        with scanners.running():
            yield scanners

    # --- its processes

    def processes(self, *words: str) -> list[Process]:
        """Its processes, children and sshd's sessions too, whose command line has all `words`."""
        found = processes_of(self.workdir)
        return [p for p in found if all(word in p.command for word in words)]

    def children(self, daemon: Daemon) -> list[Process]:
        """The children of `daemon`."""
        own = daemon.process.pid if daemon.process else 0
        return [p for p in self.processes() if p.parent_pid == own]

    def kill(self, daemon: Daemon) -> None:
        """SIGKILL, and wait until its children are gone too."""
        daemon.signal(signal.SIGKILL)
        daemon.wait()

    def restart(
        self, daemon: Daemon, *, prefix: Sequence[str] | None = None, **settings: object
    ) -> None:
        """Stop `daemon` in good order and start it again, with `prefix` before its command (an
        empty one takes it away again) and with other `settings`."""
        daemon.signal(signal.SIGCONT)
        daemon.signal(signal.SIGTERM)
        daemon.wait()
        if prefix is not None:
            daemon.command = [*prefix, *daemon.command[daemon.command.index(sys.executable) :]]
        daemon.settings.update(settings)
        daemon.restart()

    def thaw(self) -> None:
        """SIGCONT to all."""
        for process in self.processes():
            process.signal(signal.SIGCONT)

    def heal(self) -> list[str]:
        """Thaw all, and start every daemon and archive that has ended; their names.

        Other faults (proxies, disks, preloads) are their makers' to heal, before this.
        """
        self.thaw()
        ended = [d for d in self.stack.daemons if d.process and d.process.poll() is not None]
        for daemon in ended:
            daemon.wait()
            daemon.start()
        for daemon in ended:
            daemon.wait_ready()
        return [daemon.name for daemon in ended]

    # --- what has become of it

    def in_flight(self) -> list[str]:
        """Where items stand that are still to move, the daughter's first.

        Standing still are: quarantine; and the daughter's copy, and what another archive has done,
        of an item that is in the mother's quarantine.
        """
        stuck = {path.name for path in (self.mother.spool / "quarantine").glob("*/*/*/*")}
        moving = []
        for box in (self.daughter, self.mother):
            for pattern in ("new/*/*", "landing/*/*/*", "out/*/*/*/*", "out/*/sent/*/*/*",
                            "out/*/answered/*/*/*"):  # fmt: skip
                for path in box.spool.glob(pattern):
                    place = path.relative_to(box.spool)
                    waits = place.parts[0] == "out" and place.parts[2] in ("sent", "done")
                    if not (path.is_dir() or path.name.startswith(".")) and not (
                        waits and path.name in stuck
                    ):
                        moving.append(f"{box.name}/{place}")
        return moving

    def wait_quiet(self, timeout_s: float = 60.0) -> None:
        """Wait until no item is on its way any more; fails the test, naming some that are.

        One look could miss an item that moves behind its back, so several in a row must see none.
        With `release: stored` the daughter's copy stands still until the archives have it.
        """
        until_s = time.monotonic() + timeout_s
        quiet = 0
        while quiet < 3:
            moving = self.in_flight()
            quiet = 0 if moving else quiet + 1
            if moving and time.monotonic() > until_s:
                some = "\n  ".join(moving[:10])
                pytest.fail(f"not quiet after {timeout_s:.0f} s, {len(moving)} wait:\n  {some}")
            time.sleep(_LOOK_AGAIN_S)

    def leftovers(self) -> list[str]:
        """Files that nothing needs any more, where nothing is on its way."""
        rooms = ("tmp/receiver/*", "new/*/*", "landing/*/*/*", "out/*/*/*/*", "out/*/.*")
        found = [
            path.relative_to(self.workdir)
            for spool in (self.daughter.spool, self.mother.spool)
            for room in rooms
            for path in spool.glob(room)
            if path.is_file()
        ]
        return [str(path) for path in found]

    def verdict(self, *, journal: bool = True, patience_s: float = _JOURNAL_S) -> Verdict:
        """Ledger against spools, quarantines and archives; the journal is given `patience_s` to
        have written what it was told. `journal=False` leaves it out."""
        until_s = time.monotonic() + patience_s
        while True:
            found = verdict.judge(
                self.ledger, self.daughter.spool, self.mother.spool, self.archives, journal=journal
            )
            if not found.journal or time.monotonic() > until_s:
                return found
            time.sleep(_LOOK_AGAIN_S)

    def _through(self, destination: str, through: Callable[[int], int]) -> str:
        """The mother's destination by way of another port, which bears the same host key."""
        user, _, port = destination.rpartition(":")
        other = through(int(port))
        known_hosts = self.workdir / "keys" / "known_hosts"
        lines = known_hosts.read_text()
        known_hosts.write_text(lines + lines.replace(f"]:{port} ", f"]:{other} "))
        return f"{user}:{other}"

    def _archive(
        self, number: int, options: Sequence[str], through: Callable[[int], int] | None
    ) -> Archive:
        name, port = f"archive-{number}", free_port()
        directory, log = self.workdir / name, self.workdir / f"{name}.jsonl"
        command = [
            sys.executable, "-m", "tests.scripted_archive", "--port", str(port),
            "--dir", str(directory), "--log", str(log), *options,
        ]  # fmt: skip
        self.stack.start(name, command, {}, port)
        called = through(port) if through else port
        return Archive(f"SCRIPTED@{LOOPBACK}:{called}", directory, log)
