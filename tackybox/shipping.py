"""The child of each box that ships its embedded journal to MySQL, when one is configured."""

from __future__ import annotations

import os

from mysql_utilities.shipper import Shipper
from tackybox.config import BoxConfig
from tackybox.errors import ConfigError
from tackybox.service import Stop
from tackybox.spool import Spool

_NICENESS = 10


def run(config: BoxConfig, stop: Stop) -> None:
    """Ship until told to stop; nothing in the relay waits for it."""
    if config.sql is None:
        raise ConfigError("TACKYBOX_SQL is not set, so there is nowhere to ship the journal to")
    os.nice(_NICENESS)  # of a CPU that is busy, images get the most
    Shipper(Spool.open(config.spool).journal, config.sql).run(stop)
