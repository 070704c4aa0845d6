-- Statements of the embedded journal. Every value is a bound parameter.

-- name: insert_event
-- One event; a second time changes nothing.
INSERT INTO event (
    kind, box, item, event_id, at, digest, sop_class_uid, transfer_syntax_uid,
    sop_instance_uid, series_instance_uid, study_instance_uid, accession_number, patient_id,
    modality, calling_aet, called_aet, peer_address, destination, lane,
    status_code, size_bytes, duration_s, detail
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (event_id) DO NOTHING;

-- name: name_journal
-- Gives a new journal its identity; the first one to do so wins.
INSERT INTO journal (journal_id, began_at)
SELECT :journal_id, :began_at WHERE NOT EXISTS (SELECT 1 FROM journal);

-- name: journal_id
SELECT journal_id, began_at FROM journal;

-- name: read_after
-- Events in the order of their commit, after a given one.
SELECT
    seq, kind, box, item, event_id, at, digest, sop_class_uid, transfer_syntax_uid,
    sop_instance_uid, series_instance_uid, study_instance_uid, accession_number, patient_id,
    modality, calling_aet, called_aet, peer_address, destination, lane,
    status_code, size_bytes, duration_s, detail
FROM event WHERE seq > :seq ORDER BY seq LIMIT :max_rows;

-- name: event_id_at
-- Which event bears this sequence number.
SELECT event_id FROM event WHERE seq = :seq;

-- name: last_seq
SELECT coalesce(max(seq), 0) FROM event;

-- name: note_shipped
INSERT INTO shipped (server, last_seq) VALUES (:server, :last_seq)
ON CONFLICT (server) DO UPDATE SET last_seq = excluded.last_seq;

-- name: shipped_through
SELECT last_seq FROM shipped WHERE server = :server;

-- name: first_since
-- The first event that is not older than `since`, nor from a clock that ran ahead.
SELECT seq FROM event WHERE at >= :since AND at < :until ORDER BY seq LIMIT 1;

-- name: forget_before
-- A batch of the oldest events before a sequence number.
DELETE FROM event WHERE seq IN (
    SELECT seq FROM event WHERE seq < :seq ORDER BY seq LIMIT :max_rows
);
