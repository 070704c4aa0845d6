"""All that a box needs, in the order in which images need it."""

from __future__ import annotations

from collections.abc import Iterator

from tackybox.checks import keys, ports
from tackybox.checks.archives import archive
from tackybox.checks.clock import PeerClock, clock
from tackybox.checks.commitment import commitment
from tackybox.checks.database import database
from tackybox.checks.finding import Finding, Level
from tackybox.checks.mothers import mothers
from tackybox.checks.spool import spool
from tackybox.config import DaughterConfig, MotherConfig


def findings(config: DaughterConfig | MotherConfig) -> Iterator[Finding]:
    """One try after the other."""
    clocks: list[PeerClock] = []
    yield from spool(config)
    if isinstance(config, DaughterConfig):
        yield ports.dicom_port(config)
        yield _modalities(config)
        yield from keys.private_key("ssh_key", config.ssh_key, keys.PUSHER)
        yield from mothers(config, clocks)
        yield from commitment(config)
    else:
        yield ports.ssh_port(config)
        yield from keys.private_key("host_key", config.host_key, keys.INBOX)
        yield keys.daughters(config.daughters)
        for group in config.archives:
            for address in group.alternatives:
                yield from archive(address, config)
    if config.sql is not None:
        yield from database(config.sql, config.name, clocks)
    yield from clock(clocks)


def _modalities(config: DaughterConfig) -> Finding:
    name_them = "name them in TACKYBOX_MODALITIES"
    if config.modalities.anyone:
        seen = "everyone who reaches the port may send"
        return Finding(Level.WARNING, "modalities", seen, name_them)
    if not config.modalities.rules:
        return Finding(Level.WARNING, "modalities", "nobody may send", name_them)
    return Finding(Level.PASS, "modalities", f"{len(config.modalities.rules)} rules")
