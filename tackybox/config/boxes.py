"""What can be set: one dataclass per box, and the one rule made from it.

A field `min_free_mib` is the environment's `TACKYBOX_MIN_FREE_MIB`, a file's content named by
`TACKYBOX_MIN_FREE_MIB_FILE`, and the key `min_free_mib` of tackybox.yml. A field without a
default must be set. Everything that `check` and the manual say of a setting stands here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from mysql_utilities.mysql_store import MysqlAddress
from tackybox.config import values
from tackybox.config.addresses import (
    ArchiveAddress,
    ArchiveGroup,
    Endpoint,
    MotherGroup,
    parse_archives,
    parse_endpoint,
    parse_mothers,
    parse_peers,
)
from tackybox.config.commitment import AUTO, Commitment, parse_commitment
from tackybox.config.joining import JoinLine, parse_joins
from tackybox.config.lanes import LaneRule, parse_lanes
from tackybox.config.modalities import NOBODY, Modalities, parse_modalities


@dataclass(frozen=True, slots=True)
class Setting:
    """How a field is read and explained; stands in the field's annotation.

    `read` raises ValueError "what is wrong; what to write instead". A `secret` is quoted in no
    error, and its value's `str` and `repr` leave it out. A `yaml_only` field has no variable.
    """

    help: str
    read: Callable[[object], Any] = values.text
    secret: bool = False
    yaml_only: bool = False


def _mysql_address(raw: object) -> MysqlAddress:
    if not isinstance(raw, str):
        raise ValueError("is not text; write user:password@host:port/database in quotes")
    address = MysqlAddress.parse(raw)
    if values.is_placeholder_password(address.password):
        raise ValueError("has a placeholder for a password; write the real one")
    return address


@dataclass(frozen=True, kw_only=True)
class BoxConfig:
    """What both boxes have. `sources` says for each field where its value came from."""

    name: Annotated[
        str, Setting("this box's name, part of every item's name; never change it", values.box_name)
    ]
    aet: Annotated[str, Setting("this box's own AE title", values.ae_title)]
    spool: Annotated[
        Path, Setting("the spool's directory, on one local filesystem", values.directory)
    ]
    sql: Annotated[
        MysqlAddress | None,
        Setting(
            "MySQL or MariaDB that the journal is shipped to, user:password@host:port/database; "
            "unset = embedded journal only",
            _mysql_address,
            secret=True,
        ),
    ] = field(default=None, repr=False)
    log_level: Annotated[
        str,
        Setting(
            "the least serious log lines written: debug, info, warning or error",
            values.choice("debug", "info", "warning", "error"),
        ),
    ] = "info"
    min_free_mib: Annotated[
        int,
        Setting("free space in MiB below which nothing more is accepted", values.whole(1, 1 << 30)),
    ] = 1024
    journal_days: Annotated[
        int,
        Setting(
            "days that the embedded journal keeps events, shipped to sql if that is set; "
            "0 = for ever",
            values.whole(0, 36_500),
        ),
    ] = 365
    lanes: Annotated[
        tuple[LaneRule, ...],
        Setting("rules that put items into the high, medium or low lane", parse_lanes, False, True),
    ] = ()
    sources: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, kw_only=True)
class DaughterConfig(BoxConfig):
    """A box at a site: receives from modalities, pushes to mothers."""

    destinations: Annotated[
        tuple[MotherGroup, ...],
        Setting(
            "mothers, user@host:port; every one parted by ; gets all, "
            "of those parted by | the first that works, of those parted by , each study goes to "
            "one; not needed with join",
            parse_mothers,
        ),
    ]
    join: Annotated[
        tuple[JoinLine, ...] | None,
        Setting(
            "lines that tackybox enrol printed on mothers, parted by ;: they are joined at start",
            parse_joins,
            secret=True,
        ),
    ] = None
    modalities: Annotated[
        Modalities,
        Setting(
            "who may send: AET@ip-or-network;… with * for any AE title, or the word any; "
            "unset = nobody",
            parse_modalities,
        ),
    ] = NOBODY
    port: Annotated[int, Setting("TCP port that modalities send to", values.port)] = 11112
    bind: Annotated[str, Setting("local address to listen on", values.bind_address)] = "0.0.0.0"  # noqa: S104 - a relay is there to be reached
    receiver: Annotated[
        Endpoint | None,
        Setting(
            "host:port where tackybox check reaches our receiver; unset = this machine, port",
            parse_endpoint,
        ),
    ] = None
    require_called_aet: Annotated[
        bool, Setting("refuse callers that call another AE title than ours", values.flag)
    ] = True
    max_associations: Annotated[
        int, Setting("associations from modalities at a time", values.whole(1, 10_000))
    ] = 100
    workers: Annotated[
        int,
        Setting("processes that receive; 0 = one for each core, 8 at most", values.whole(0, 64)),
    ] = 0
    dimse_timeout_s: Annotated[
        float, Setting("seconds to wait for the next DIMSE message", values.seconds(1, 86_400))
    ] = 60.0
    network_timeout_s: Annotated[
        float, Setting("seconds an association may be silent", values.seconds(1, 86_400))
    ] = 60.0
    max_pdu_bytes: Annotated[
        int, Setting("longest PDU accepted, in bytes", values.whole(4096, 1 << 24))
    ] = 262_144
    parallel: Annotated[int, Setting("rsyncs at a time to one mother", values.whole(1, 64))] = 4
    bandwidth_kib_s: Annotated[
        int, Setting("limit to one mother, in KiB/s; 0 = none", values.whole(0, 1 << 30))
    ] = 0
    compress: Annotated[
        str,
        Setting(
            "compress on the way: auto (when it pays), always or never",
            values.choice("auto", "always", "never"),
        ),
    ] = "auto"
    release: Annotated[
        str,
        Setting(
            "keep our copy until it is stored (in the archive) or landed (at the mother)",
            values.choice("stored", "landed"),
        ),
    ] = "stored"
    keep_days: Annotated[
        int,
        Setting(
            "days since its arrival that a released copy is kept here all the same, for "
            "tackybox reconcile --send; the first to go when space is low; 0 = none is",
            values.whole(0, 36_500),
        ),
    ] = 0
    ssh_key: Annotated[Path, Setting("our private ssh key", values.directory)] = Path(
        "/keys/id_ed25519"
    )
    known_hosts: Annotated[
        Path, Setting("the mothers' pinned host keys, as ssh-keyscan writes them", values.directory)
    ] = Path("/keys/known_hosts")
    backoff_cap_s: Annotated[
        float,
        Setting("longest wait before a failed push is tried again", values.seconds(1, 86_400)),
    ] = 300.0
    failover_after_s: Annotated[
        float,
        Setting("seconds without success before the next alternative", values.seconds(1, 604_800)),
    ] = 900.0
    receipts_interval_s: Annotated[
        float, Setting("seconds between two requests for receipts", values.seconds(0.1, 86_400))
    ] = 2.0
    commitment_timeout_s: Annotated[
        float,
        Setting(
            "seconds that a modality's storage commitment request may wait for the archives, and "
            "our answer for the modality; 0 = not offered",
            values.seconds(0, 2_592_000),
        ),
    ] = 86_400.0
    commitment_peers: Annotated[
        tuple[ArchiveAddress, ...] | None,
        Setting(
            "where modalities take answers to storage commitment: AET@host:port;…; "
            "others: at the address that they ask from, commitment_port",
            parse_peers,
        ),
    ] = None
    commitment_port: Annotated[
        int, Setting("TCP port of modalities that commitment_peers does not name", values.port)
    ] = 104
    batch_items: Annotated[int, Setting("most items in one push", values.whole(1, 10_000))] = 64
    batch_bytes: Annotated[
        int,
        Setting("most bytes in one push; a larger item goes alone", values.whole(1, 1 << 40)),
    ] = 256 << 20


@dataclass(frozen=True, kw_only=True)
class MotherConfig(BoxConfig):
    """A box beside the archives: gets items from daughters, stores them into archives."""

    archives: Annotated[
        tuple[ArchiveGroup, ...],
        Setting(
            "archives, AET@host:port; every one parted by ; gets all, "
            "of those parted by | the first that works",
            parse_archives,
        ),
    ]
    associations: Annotated[
        int, Setting("associations kept open to each archive", values.whole(1, 64))
    ] = 2
    dimse_timeout_s: Annotated[
        float, Setting("seconds to wait for an archive's answer", values.seconds(1, 86_400))
    ] = 60.0
    connect_timeout_s: Annotated[
        float, Setting("seconds to wait for an archive's connection", values.seconds(0.1, 3600))
    ] = 10.0
    echo_interval_s: Annotated[
        float, Setting("seconds that a C-ECHO's answer is trusted", values.seconds(0.1, 86_400))
    ] = 60.0
    max_pdu_bytes: Annotated[
        int, Setting("longest PDU accepted, in bytes", values.whole(4096, 1 << 24))
    ] = 262_144
    commitment: Annotated[
        Commitment,
        Setting(
            "proof that an archive keeps what it answered success for: auto (its storage "
            "commitment, where it offers that and report_port is set), required, find (a C-FIND "
            "lists it) or off; for one archive AET@host:port=word, parted by ;",
            parse_commitment,
        ),
    ] = AUTO
    proof_timeout_s: Annotated[
        float,
        Setting(
            "seconds until an archive that has not proved it is asked again",
            values.seconds(1, 604_800),
        ),
    ] = 600.0
    report_port: Annotated[
        int | None,
        Setting("TCP port at which archives report storage commitment; unset = none", values.port),
    ] = None
    report_bind: Annotated[
        str, Setting("local address to listen on for such reports", values.bind_address)
    ] = "0.0.0.0"  # noqa: S104 - archives are elsewhere
    rescan_interval_s: Annotated[
        float, Setting("seconds between two looks at the whole spool", values.seconds(0.1, 3600))
    ] = 5.0
    backoff_cap_s: Annotated[
        float,
        Setting("longest wait before a failed store is tried again", values.seconds(1, 86_400)),
    ] = 300.0
    failover_after_s: Annotated[
        float,
        Setting("seconds without success before the next alternative", values.seconds(1, 604_800)),
    ] = 900.0
    ssh_port: Annotated[int, Setting("TCP port that daughters push to", values.port)] = 2222
    ssh_bind: Annotated[str, Setting("local address for sshd", values.bind_address)] = "0.0.0.0"  # noqa: S104 - a gate is there to be reached
    host_key: Annotated[Path, Setting("our private host key", values.directory)] = Path(
        "/keys/ssh_host_ed25519_key"
    )
    daughters: Annotated[
        Path,
        Setting("directory with each daughter's public key, <box name>.pub", values.directory),
    ] = Path("/keys/daughters")
    enrolments: Annotated[
        Path, Setting("directory that keeps invitations of daughters", values.directory)
    ] = Path("/keys/enrolments")
    address: Annotated[
        Endpoint | None,
        Setting("host:port at which daughters reach this mother's inbox", parse_endpoint),
    ] = None
