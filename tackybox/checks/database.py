"""The database: reached, its schema's version, whether we may write there, and its clock."""

from __future__ import annotations

import time
from collections.abc import Iterator

from mysql_utilities.errors import JournalError, JournalSchemaError
from mysql_utilities.events import Event, Kind
from mysql_utilities.mysql_store import SCHEMA_VERSION, MysqlAddress, MysqlStore
from tackybox.checks.clock import PeerClock
from tackybox.checks.finding import Finding, Level

_TIMEOUT_S = 5.0
_GOES_ON = "the relay goes on without it; the journal is shipped when that is mended"


def database(address: MysqlAddress, box: str, clocks: list[PeerClock]) -> Iterator[Finding]:
    """The findings, as from the box named `box`; its clock goes into `clocks`."""
    subject = f"database {address}"
    try:
        with MysqlStore(address, timeout_s=_TIMEOUT_S) as store:
            began_s = time.time()
            server = store.server()
            ended_s = time.time()
            store.try_insert(Event(kind=Kind.GAP, box=box, detail="tackybox check"))
            version = store.schema_version
    except JournalSchemaError as error:
        seen = str(error).removeprefix(f"the {subject} ")
        yield Finding(Level.FAIL, subject, seen, "README.md says how; the relay goes on meanwhile")
        return
    except JournalError as error:
        seen = str(error).removeprefix(f"the {subject} ")
        yield Finding(Level.FAIL, subject, seen, _GOES_ON)
        return
    offset_s = server.now.timestamp() - (began_s + ended_s) / 2
    clocks.append(PeerClock(subject, offset_s, (ended_s - began_s) / 2))
    details = {"product": server.product, "version": server.version, "schema_version": version}
    seen = f"{server.product} {server.version}, schema version {version}, we may write there"
    if version > SCHEMA_VERSION:
        seen += f"; this box is made for schema version {SCHEMA_VERSION}"
        remedy = "works, as a newer schema keeps what an older box needs; update this box"
        yield Finding(Level.WARNING, subject, seen, remedy, details)
    else:
        yield Finding(Level.PASS, subject, seen, details=details)
