"""The matrix: each kind of fault that a hospital meets, what is expected, and how its test fails.

`broken_by` is the mutation check: which protection was taken out, and that the row's tests then
failed. Only what was really seen stands there.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One row; its tests are marked `fault("<id>")` and stand in tests/faults/test_<id>.py."""

    id: str
    fault: str
    expected: str
    broken_by: str = ""


ROWS = (
    Row(
        "kill",
        "kill -9 at each step: before and after each fsync and rename in receive, fan-out, push, "
        "commit, receipt, forward, confirm, release",
        "nothing lost; nothing answered that is not durable; restart sweeps leftovers; no "
        "duplicate from a cut receipt",
        broken_by="`Settlement.recover` of the forwarder put nothing back: what was in hand at "
        "the kill stood there for ever, red. QUEUED and STORED recorded after the rename, as it "
        "had been: the journals lacked them, red.",
    ),
    Row(
        "power_cut",
        "power cut on the daughter, on the mother, at 100 random moments",
        "every answered data set is there after the mount",
        broken_by="tackybox/spool/durable.py: fsync_directory, fsync_file and SharedSync.sync "
        "without their os.fsync: answered data sets were gone after the mount (ext4, --seed 2). Of "
        "the mother alone (ext4 and XFS, --seed 1): tackybox/spool/landing.py: `is_sound` without "
        "fsync_file: all that the daughter had let go of was lost; tackybox/spool/receipts.py: "
        "`append_locked` without os.fsync: the daughter kept for ever what had been stored. Not "
        "seen to fail on either: landing.py and receipts.py without their fsync of the directory, "
        "as a file's fsync takes its name along there.",
    ),
    Row(
        "failing_call",
        "fsync, write, rename, link, open fail (EIO, ENOSPC, EMFILE, EROFS), each call in turn",
        "0xA700 or retry; the file is discarded, never fsynced again and trusted; the alarm shows; "
        "the daemon lives",
        broken_by="`SharedSync.sync` swallowed the OSError of fsync: answered 0x0000 instead of "
        "0xA700, red.",
    ),
    Row(
        "disk_full",
        "disk full, inodes gone, below the watermark, on either box",
        "refused early with 0xA700; drains; recovers by itself; nothing undelivered is ever "
        "deleted",
        broken_by="Space.is_low (tackybox/spool/spool.py) that says no: a full daughter raised no "
        "alarm in status. ReceiptLog.append_locked (tackybox/spool/receipts.py) without `reserve`: "
        "a full mother did not drain. `clear_all` (tackybox/spool/landing.py) that clears nothing: "
        "what a cut push had left kept all others out",
    ),
    Row(
        "spool_trouble",
        "spool read-only, wrong owner, missing, on two file systems",
        "not started, one clear line",
        broken_by="Spool.open (tackybox/spool/spool.py) without its look at mounts_below: a "
        "forwarder with a mount inside its spool was started",
    ),
    Row(
        "two_daemons",
        "two daemons on one spool",
        "the second says so and exits; or both work, items disjoint",
        broken_by="daughter/pusher/__main__.py: the pusher without Spool.workspace, which holds "
        "the lock: the second one did not end",
    ),
    Row(
        "database",
        "database absent at start, stopped, frozen, slow, full, older schema, newer schema, wrong "
        "password",
        "relay untouched; events complete afterwards",
        broken_by="mysql_utilities/mysql_store.py: `take_shipment` committed how far the server is "
        "before it inserted the events; those that it then refused never came",
    ),
    Row(
        "mother_down",
        "mother down for a day (time compressed), black-holed, half-open, 1 Mbit/s, DNS gone, host "
        "key changed, key revoked, disk full",
        "capped back-off, never expires, others untouched, distinct messages",
        broken_by="daughter/pusher/courier.py: `_open` counted a road that opens as one that takes "
        "items; a full disk at the mother was announced anew with each try.",
    ),
    Row(
        "volume_lost",
        "mother's volume lost and replaced by an empty one; daughter's or mother's embedded "
        "journal deleted or corrupt",
        "all that was not yet stored arrives again by itself; the journal is rebuilt from the "
        "spool as far as it can be, and says where it has a gap",
        broken_by="tackybox/rebuild.py: `Keeper._make_again` made nothing again; items that stood "
        "in the spool stayed unknown; daughter/pusher/settlement.py: neither the "
        "spool's identity nor the length of the receipts counted; what was sent stayed sent",
    ),
    Row(
        "transport",
        "rsync or ssh killed in mid-file, on either end; a batch half committed",
        "finished later, once",
        broken_by="daughter/pusher/courier.py: `_deliver` put items back whose commit had no "
        "answer, instead of leaving them in doubt; a batch half committed was stored twice.",
    ),
    Row(
        "archive",
        "archive refuses TCP, rejects the association (each reason), aborts, rejects contexts, "
        "hangs in mid C-STORE, closes without a response, answers each status class, says Success "
        "and stores nothing",
        "per the status table; one probe and no storm; a bad item never holds up another; an empty "
        "status counts as unknown and is tried again",
        broken_by="Each taken out alone, each turned tests red: Outlet.claim gives untried items "
        "no turn of their own (images that the archive takes starved behind twelve that it put "
        "off: found so, and mended); Settlement.stored asks for no proof (nothing was denied); "
        "Carrier._unanswered takes no answer for Success (nothing was deferred for want of one); "
        "Presence._pause always waits 0.05 s (27 probes where 12 are allowed).",
    ),
    Row(
        "duplicates",
        "same SOP Instance UID, same bytes; same UID, other bytes; sent again after delivery",
        "delivered; both delivered and flagged; delivered again",
        broken_by="Draft.accept gives every item the same time and digest in its name: of two "
        "contents under one UID one was lost.",
    ),
    Row(
        "corruption",
        "bit flip in the spool or in transit; truncated, empty, not DICOM, absurd header in any "
        "inbox",
        "no receipt; sent again from the good copy, else quarantine; the queue goes on",
        broken_by="daughter/pusher/settlement.py: `_apply` did not send again what the mother's "
        "receipt calls damaged; it never arrived.",
    ),
    Row(
        "clock",
        "clock jumps of a day, either way, on either box; boxes an hour apart",
        "order and back-off keep; nothing expires; traces are marked as skewed",
        broken_by="mother/forwarder/__main__.py: `_carry` gave the outlet no longest wait; after "
        "the clock went back by a day, what was deferred still waited when the test gave up",
    ),
    Row(
        "containers",
        "containers restarted and upgraded in mid-transfer",
        "all arrives",
        broken_by="mother/forwarder/settlement.py: `Settlement.recover` put nothing back, in the "
        "forwarder's image: after its container was killed the mother's spool was never empty "
        "again",
    ),
    Row(
        "senders",
        "sender aborts in mid-image, half a PDU, silence, 1,000 idle connections, 4 GiB length",
        "other senders served; memory flat; no residue",
        broken_by="daughter/receiver/worker.py: `_make_room` gave up nobody; with 1,000 idle "
        "connections no other sender was served.",
    ),
    Row(
        "million",
        "a million items waiting, then everything killed and started",
        "bounded memory; a new high-lane item is not starved",
        broken_by="Outlet.claim (tackybox/spool/outlet.py) with the lanes in reverse: the high "
        "item was not stored in a minute",
    ),
    Row(
        "commitment",
        "a modality asks the daughter for storage commitment while archives are down or refuse, "
        "daemons are killed, other bytes come under the same UID, the modality is away",
        "told success only for what every archive has at that moment; told in the end, whatever "
        "was killed; failure for what stands in quarantine",
        broken_by="daughter/pusher/evidence.py: _is_proven also took PUSHED for proof, and the "
        "modality was told success while the second archive was down; judge was content when one "
        "of several contents was stored, and it was told before the other; daughter/pusher/"
        "commitment.py: _not_taken closed the request, and a modality that was away was never told",
    ),
    Row(
        "random",
        "1,000 cycles of random faults, several at once",
        "0 lost, 0 altered",
        broken_by="`Settlement.recover` of the forwarder put nothing back: after 8 cycles items "
        "stood in hand for ever, red.",
    ),
)
