-- What the reports ask, of SQLite and of MySQL alike. Every value is a bound parameter.
-- The conditions <> '' let SQLite use its indexes, which leave out rows without the key.

-- name: steps_by_key
-- Every step of every item that has the key on any of its steps, and steps without an item that
-- bear the key themselves (a refusal has no item). One row more than asked for says "too many".
SELECT
    e.kind, e.box, e.item, e.event_id, e.at, e.digest, e.sop_class_uid, e.transfer_syntax_uid,
    e.sop_instance_uid, e.series_instance_uid, e.study_instance_uid, e.accession_number,
    e.patient_id, e.modality, e.calling_aet, e.called_aet, e.peer_address, e.destination, e.lane,
    e.status_code, e.size_bytes, e.duration_s, e.detail
FROM (
    SELECT item FROM event WHERE sop_instance_uid = :key AND sop_instance_uid <> ''
    UNION SELECT item FROM event WHERE series_instance_uid = :key AND series_instance_uid <> ''
    UNION SELECT item FROM event WHERE study_instance_uid = :key AND study_instance_uid <> ''
    UNION SELECT item FROM event WHERE accession_number = :key AND accession_number <> ''
    UNION SELECT item FROM event WHERE patient_id = :key AND patient_id <> ''
    UNION SELECT item FROM event WHERE item = :key AND item <> ''
) found
JOIN event e ON e.item = found.item AND e.item <> ''
UNION ALL
SELECT
    r.kind, r.box, r.item, r.event_id, r.at, r.digest, r.sop_class_uid, r.transfer_syntax_uid,
    r.sop_instance_uid, r.series_instance_uid, r.study_instance_uid, r.accession_number,
    r.patient_id, r.modality, r.calling_aet, r.called_aet, r.peer_address, r.destination, r.lane,
    r.status_code, r.size_bytes, r.duration_s, r.detail
FROM event r
WHERE r.item = '' AND r.sop_instance_uid = :key AND r.sop_instance_uid <> ''
LIMIT :max_rows;

-- name: steps_of_item
-- Every step of one item.
SELECT
    kind, box, item, event_id, at, digest, sop_class_uid, transfer_syntax_uid,
    sop_instance_uid, series_instance_uid, study_instance_uid, accession_number, patient_id,
    modality, calling_aet, called_aet, peer_address, destination, lane,
    status_code, size_bytes, duration_s, detail
FROM event WHERE item = :item AND item <> '';

-- name: studies_of_items
-- The studies of the items whose ids lie between two, which begin with when they arrived.
SELECT DISTINCT study_instance_uid FROM event
WHERE item >= :first AND item < :behind AND item <> '' AND study_instance_uid <> ''
LIMIT :max_rows;

-- name: gaps
-- The latest of the events that say that others are missing.
SELECT
    kind, box, item, event_id, at, digest, sop_class_uid, transfer_syntax_uid,
    sop_instance_uid, series_instance_uid, study_instance_uid, accession_number, patient_id,
    modality, calling_aet, called_aet, peer_address, destination, lane,
    status_code, size_bytes, duration_s, detail
FROM event WHERE kind = 'GAP' ORDER BY at DESC LIMIT :max_rows;
