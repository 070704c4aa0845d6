-- Statements of the server's side; the schema itself is tackybox.sql. Every value is bound.

-- name: insert_event
-- One event; a second time changes nothing. Unlike INSERT IGNORE this hides no other error.
INSERT INTO event (
    kind, box, item, event_id, at, digest, sop_class_uid, transfer_syntax_uid,
    sop_instance_uid, series_instance_uid, study_instance_uid, accession_number, patient_id,
    modality, calling_aet, called_aet, peer_address, destination, lane,
    status_code, size_bytes, duration_s, detail
) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
ON DUPLICATE KEY UPDATE event_id = event.event_id;

-- name: read_after
-- Events in the order of their arrival, after a given one.
SELECT
    id, kind, box, item, event_id, at, digest, sop_class_uid, transfer_syntax_uid,
    sop_instance_uid, series_instance_uid, study_instance_uid, accession_number, patient_id,
    modality, calling_aet, called_aet, peer_address, destination, lane,
    status_code, size_bytes, duration_s, detail
FROM event WHERE id > :seq ORDER BY id LIMIT :max_rows;

-- name: server
SELECT VERSION(), UTC_TIMESTAMP(6);

-- name: schema_version
SELECT coalesce(max(version), 0) FROM schema_version;

-- name: begin_shipment
-- Makes the row that the next statement locks.
INSERT INTO shipment (journal_id, last_seq, last_event_id, shipped_at)
VALUES (:journal_id, 0, '', UTC_TIMESTAMP(6))
ON DUPLICATE KEY UPDATE journal_id = shipment.journal_id;

-- name: shipped_through
-- How far this server has a journal; locked, so that two shippers of one journal take turns.
SELECT last_seq, last_event_id FROM shipment WHERE journal_id = :journal_id FOR UPDATE;

-- name: note_shipment
UPDATE shipment
SET last_seq = :last_seq, last_event_id = :last_event_id, shipped_at = UTC_TIMESTAMP(6)
WHERE journal_id = :journal_id;
