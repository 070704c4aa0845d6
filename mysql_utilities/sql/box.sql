-- What an operator asks of one box's embedded journal. Every value is a bound parameter.

-- name: last_of_outlets
-- The newest event of each kind that tells how a destination fares, per destination and peer.
SELECT
    seq, kind, box, item, event_id, at, digest, sop_class_uid, transfer_syntax_uid,
    sop_instance_uid, series_instance_uid, study_instance_uid, accession_number, patient_id,
    modality, calling_aet, called_aet, peer_address, destination, lane,
    status_code, size_bytes, duration_s, detail
FROM event WHERE seq IN (
    SELECT max(seq) FROM event
    WHERE kind IN ('OUTLET_DOWN', 'OUTLET_UP', 'DEFERRED', 'QUARANTINED') AND destination <> ''
    GROUP BY destination, kind, peer_address
)
ORDER BY seq;

-- name: inflow
-- Bytes that came in since a time, looking no further back than a sequence number; and when the
-- first of the events looked at was.
SELECT
    coalesce(sum(CASE WHEN kind IN ('RECEIVED', 'LANDED') THEN size_bytes END), 0),
    min(at)
FROM event WHERE seq > :seq AND at >= :since;

-- name: refused_for_want
-- How many data sets were refused with 0xA700 (out of resources, PS3.4 table B.2-1) since a time,
-- looking no further back than a sequence number; and why the last of them was.
SELECT count(*), max(seq), detail
FROM event WHERE seq > :seq AND at >= :since AND kind = 'REFUSED' AND status_code = 42752;

-- name: same_uid
-- SOP Instance UIDs that came with several contents, the last of them since a time, looking no
-- further back than a sequence number.
SELECT sop_instance_uid FROM event
WHERE seq > :seq AND kind IN ('RECEIVED', 'LANDED') AND sop_instance_uid <> '' AND digest <> ''
GROUP BY sop_instance_uid
HAVING min(digest) < max(digest) AND max(at) >= :since
ORDER BY max(seq) DESC
LIMIT :most;

-- name: last_box
-- Whose journal this is.
SELECT box FROM event ORDER BY seq DESC LIMIT 1;

-- name: has_event
-- Whether an event has come into the embedded journal.
SELECT 1 FROM event WHERE event_id = :event_id;

-- name: steps_known
-- Which steps of an item are on record at all: of one that is tried for weeks there are many.
SELECT DISTINCT kind, destination FROM event WHERE item = :item AND item <> '';

-- name: last_at
-- When the event happened that came last.
SELECT at FROM event ORDER BY seq DESC LIMIT 1;

-- name: last_gap
-- When steps were last found to be missing, and why.
SELECT at, detail FROM event WHERE kind = 'GAP' ORDER BY at DESC LIMIT 1;

-- name: at_after
-- When the first event after a sequence number happened.
SELECT at FROM event WHERE seq > :seq ORDER BY seq LIMIT 1;

-- name: range
-- The first and the last sequence number; 1 and 0 in an empty journal.
SELECT coalesce(min(seq), 1), coalesce(max(seq), 0) FROM event;

-- name: servers
-- How far each server was shipped.
SELECT server, last_seq FROM shipped;

-- name: steps_of_instance
-- Every step of the items that have this SOP Instance UID.
SELECT kind, item, digest, destination, sop_class_uid, detail, event_id
FROM event WHERE sop_instance_uid = :uid AND sop_instance_uid <> '' ORDER BY seq LIMIT :max_rows;
