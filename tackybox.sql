-- Tackybox: the journal's schema, for MySQL 8.4 or newer and MariaDB 10.11 or newer.
--
-- README.md has the line that loads it with docker exec. Beware of a bare -p there: without a
-- terminal the client takes this file's first line for the password.
--
-- Loading it again changes nothing; over an older version it adds what is missing and keeps every
-- row. It needs a user with all rights on this one database, and no others.
--
-- All times are UTC, in DATETIME(6): no time zone and no summer time of a server, session or
-- client can shift them. Text compares exactly (utf8mb4_bin), as identifiers do.
--
-- For reading, use the views at the end:
--     where_is_my_study            one row per study: how much of it is where
--     study_at_each_destination    the same per mother and per archive
--     waiting                      what waits, since when, and why
--     quarantined                  what a person must decide on
--     history                      every step of every image, readable
--     journal_gap                  from which box steps are missing, and why
--     latency_per_hop              per day: how long each part of the way took
--     volume_per_day               per day, site and modality: images, bytes, studies
--     same_uid_other_content       SOP Instance UIDs that came with more than one content

-- ---------------------------------------------------------------------------------------------
-- Tables

-- The versions of this file that were loaded here.
--   1  event
--   2  event.digest, event.lane, index on patient_id and on (kind, at); shipment; views
--   3  views: TAKEN waits, same_uid_other_content
CREATE TABLE IF NOT EXISTS schema_version (
    version   INT UNSIGNED NOT NULL PRIMARY KEY,
    loaded_at DATETIME(6)  NOT NULL
) ENGINE = InnoDB;

-- One row per step of an image (or of a destination: OUTLET_DOWN, OUTLET_UP), never changed.
-- "" or NULL: the step has no such value. Header attributes are on QUEUED; an image's other steps
-- are found by item.
CREATE TABLE IF NOT EXISTS event (
    id                  BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    kind                VARCHAR(16)   NOT NULL,
    box                 VARCHAR(64)   NOT NULL,
    item                VARCHAR(128)  NOT NULL,
    event_id            CHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    at                  DATETIME(6)   NOT NULL,
    digest              VARCHAR(64)   NOT NULL DEFAULT '',
    sop_class_uid       VARCHAR(64)   NOT NULL,
    transfer_syntax_uid VARCHAR(64)   NOT NULL,
    sop_instance_uid    VARCHAR(64)   NOT NULL,
    series_instance_uid VARCHAR(64)   NOT NULL,
    study_instance_uid  VARCHAR(64)   NOT NULL,
    accession_number    VARCHAR(64)   NOT NULL,
    patient_id          VARCHAR(64)   NOT NULL,
    modality            VARCHAR(16)   NOT NULL,
    calling_aet         VARCHAR(32)   NOT NULL,
    called_aet          VARCHAR(32)   NOT NULL,
    peer_address        VARCHAR(255)  NOT NULL,
    destination         VARCHAR(255)  NOT NULL,
    lane                VARCHAR(16)   NOT NULL DEFAULT '',
    status_code         INT           NULL,
    size_bytes          BIGINT        NULL,
    duration_s          DOUBLE        NULL,
    detail              VARCHAR(1000) NOT NULL,
    UNIQUE KEY event_id (event_id),
    KEY event_item (item, at),
    KEY event_sop (sop_instance_uid),
    KEY event_series (series_instance_uid),
    KEY event_study (study_instance_uid),
    KEY event_accession (accession_number),
    KEY event_patient (patient_id),
    KEY event_kind (kind, at)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- How far each box's journal has been given to this server. It is written in one transaction with
-- the events, so that a restored backup takes both back, and the boxes ship again from there.
-- To have a journal shipped again from its beginning, delete its row; nothing is doubled by that.
CREATE TABLE IF NOT EXISTS shipment (
    journal_id    CHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    last_seq      BIGINT UNSIGNED NOT NULL,
    last_event_id CHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    shipped_at    DATETIME(6) NOT NULL
) ENGINE = InnoDB;

-- ---------------------------------------------------------------------------------------------
-- What an older version lacks. MySQL has no ADD COLUMN IF NOT EXISTS, hence the detour: the
-- statement is prepared only where information_schema does not know the thing yet.

SET @step = (SELECT IF(COUNT(*) = 0,
    'ALTER TABLE event ADD COLUMN digest VARCHAR(64) NOT NULL DEFAULT '''' AFTER at', 'DO 0')
    FROM information_schema.COLUMNS
    WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'event' AND COLUMN_NAME = 'digest');
PREPARE step FROM @step;
EXECUTE step;
DEALLOCATE PREPARE step;

SET @step = (SELECT IF(COUNT(*) = 0,
    'ALTER TABLE event ADD COLUMN lane VARCHAR(16) NOT NULL DEFAULT '''' AFTER destination', 'DO 0')
    FROM information_schema.COLUMNS
    WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'event' AND COLUMN_NAME = 'lane');
PREPARE step FROM @step;
EXECUTE step;
DEALLOCATE PREPARE step;

SET @step = (SELECT IF(COUNT(*) = 0,
    'ALTER TABLE event ADD KEY event_patient (patient_id)', 'DO 0')
    FROM information_schema.STATISTICS
    WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'event' AND INDEX_NAME = 'event_patient');
PREPARE step FROM @step;
EXECUTE step;
DEALLOCATE PREPARE step;

SET @step = (SELECT IF(COUNT(*) = 0,
    'ALTER TABLE event ADD KEY event_kind (kind, at)', 'DO 0')
    FROM information_schema.STATISTICS
    WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'event' AND INDEX_NAME = 'event_kind');
PREPARE step FROM @step;
EXECUTE step;
DEALLOCATE PREPARE step;

INSERT INTO schema_version (version, loaded_at) VALUES (3, UTC_TIMESTAMP(6))
ON DUPLICATE KEY UPDATE version = 3;

-- ---------------------------------------------------------------------------------------------
-- Views

-- image: one row per received image (item) with what its header says, from its first QUEUED step.
-- The other views stand on it. A modality's deliberate re-send is an item of its own.
CREATE OR REPLACE SQL SECURITY INVOKER VIEW image AS
SELECT
    q.item,
    q.sop_instance_uid,
    q.series_instance_uid,
    q.study_instance_uid,
    q.accession_number,
    q.patient_id,
    q.modality,
    q.sop_class_uid,
    q.size_bytes
FROM event q
WHERE q.kind = 'QUEUED' AND q.item <> ''
  AND NOT EXISTS (
    SELECT 1 FROM event earlier
    WHERE earlier.item = q.item AND earlier.kind = 'QUEUED' AND earlier.id < q.id
  );

-- standing: the latest step of each item on each box for each destination: how it stands now.
-- A step without a destination (received, landed) stands only until anything else happens there.
CREATE OR REPLACE SQL SECURITY INVOKER VIEW standing AS
SELECT
    s.id,
    s.item,
    s.box,
    s.destination,
    s.kind,
    s.at,
    s.sop_instance_uid,
    s.lane,
    s.status_code,
    s.detail
FROM event s
WHERE s.item <> ''
  AND NOT EXISTS (
    SELECT 1 FROM event later
    WHERE later.item = s.item AND later.box = s.box
      AND (s.destination = '' OR later.destination = s.destination)
      AND (later.at > s.at OR (later.at = s.at AND later.id > s.id))
  );

-- where_is_my_study: one row per study (and accession number and patient ID, should its images
-- disagree on them).
--   images        received images, re-sent ones counted again
--   at_mother     those that a mother has taken
--   at_archive    those that at least one archive has;  archives  those that have any of it
--   waiting       those with at least one delivery still to be made
--   quarantined   those with at least one delivery that a person must decide on
--   first_utc     when the first image came; last_utc when the last step was made
--   wait_s        seconds from the first image received to the last one stored so far
--     SELECT * FROM where_is_my_study WHERE accession_number = '...';
CREATE OR REPLACE SQL SECURITY INVOKER VIEW where_is_my_study AS
SELECT
    i.study_instance_uid,
    i.accession_number,
    i.patient_id,
    COUNT(DISTINCT i.item) AS images,
    COUNT(DISTINCT CASE WHEN s.kind = 'RECEIVED' THEN s.item END) AS received,
    COUNT(DISTINCT CASE WHEN s.kind = 'LANDED' THEN s.item END) AS at_mother,
    COUNT(DISTINCT CASE WHEN s.kind = 'STORED' THEN s.item END) AS at_archive,
    GROUP_CONCAT(DISTINCT CASE WHEN s.kind = 'STORED' THEN s.destination END
                 ORDER BY s.destination SEPARATOR '; ') AS archives,
    COUNT(DISTINCT CASE WHEN later.id IS NULL AND s.kind IN
        ('RECEIVED', 'LANDED', 'QUEUED', 'MISMATCH', 'FORWARDING', 'CONVERTED', 'TAKEN',
         'DEFERRED', 'RETRIED', 'REQUEUED') THEN s.item END) AS waiting,
    COUNT(DISTINCT CASE WHEN later.id IS NULL AND s.kind = 'QUARANTINED' THEN s.item END)
        AS quarantined,
    MIN(s.at) AS first_utc,
    MAX(s.at) AS last_utc,
    TIMESTAMPDIFF(MICROSECOND, MIN(CASE WHEN s.kind = 'RECEIVED' THEN s.at END),
        MAX(CASE WHEN s.kind = 'STORED' THEN s.at END)) / 1000000 AS wait_s
FROM image i
JOIN event s ON s.item = i.item
LEFT JOIN event later
    ON later.item = s.item AND later.box = s.box
   AND (s.destination = '' OR later.destination = s.destination)
   AND (later.at > s.at OR (later.at = s.at AND later.id > s.id))
GROUP BY i.study_instance_uid, i.accession_number, i.patient_id;

-- study_at_each_destination: the same, one row per study, box and destination: a mother (seen from
-- the daughter: delivered = the mother has signed for it) or an archive (delivered = stored).
CREATE OR REPLACE SQL SECURITY INVOKER VIEW study_at_each_destination AS
SELECT
    i.study_instance_uid,
    i.accession_number,
    i.patient_id,
    s.box,
    s.destination,
    COUNT(DISTINCT s.item) AS images,
    COUNT(DISTINCT CASE WHEN s.kind IN ('PUSHED', 'STORED') THEN s.item END) AS delivered,
    COUNT(DISTINCT CASE WHEN later.id IS NULL AND s.kind IN
        ('QUEUED', 'FORWARDING', 'CONVERTED', 'TAKEN', 'DEFERRED', 'RETRIED', 'REQUEUED')
        THEN s.item END) AS waiting,
    COUNT(DISTINCT CASE WHEN later.id IS NULL AND s.kind = 'QUARANTINED' THEN s.item END)
        AS quarantined,
    MIN(s.at) AS first_utc,
    MAX(s.at) AS last_utc
FROM image i
JOIN event s ON s.item = i.item
LEFT JOIN event later
    ON later.item = s.item AND later.box = s.box AND later.destination = s.destination
   AND (later.at > s.at OR (later.at = s.at AND later.id > s.id))
WHERE s.destination <> ''
GROUP BY i.study_instance_uid, i.accession_number, i.patient_id, s.box, s.destination;

-- waiting: every delivery still to be made, and its last step, which is why it waits.
--     SELECT * FROM waiting ORDER BY since_utc LIMIT 100;
-- In a journal of many millions of steps, a range of since_utc or a study makes it quick.
CREATE OR REPLACE SQL SECURITY INVOKER VIEW waiting AS
SELECT
    s.item,
    s.box,
    s.destination,
    s.lane,
    s.at AS since_utc,
    TIMESTAMPDIFF(SECOND, s.at, UTC_TIMESTAMP(6)) AS waits_s,
    s.kind AS last_step,
    s.status_code,
    s.detail,
    i.accession_number,
    i.study_instance_uid,
    i.modality
FROM standing s
LEFT JOIN image i ON i.item = s.item
WHERE s.kind IN ('RECEIVED', 'LANDED', 'QUEUED', 'MISMATCH', 'FORWARDING', 'CONVERTED',
                 'TAKEN', 'DEFERRED', 'RETRIED', 'REQUEUED');

-- quarantined: what can't be delivered as it is, where it stands, and the reason.
CREATE OR REPLACE SQL SECURITY INVOKER VIEW quarantined AS
SELECT
    s.item,
    s.box,
    s.destination,
    s.at AS since_utc,
    s.status_code,
    s.detail AS reason,
    s.sop_instance_uid,
    i.accession_number,
    i.study_instance_uid,
    i.modality
FROM standing s
LEFT JOIN image i ON i.item = s.item
WHERE s.kind = 'QUARANTINED';

-- journal_gap: what says that steps of a box are missing here: its journal was lost or damaged.
CREATE OR REPLACE SQL SECURITY INVOKER VIEW journal_gap AS
SELECT g.at AS found_utc, g.box, g.detail
FROM event g
WHERE g.kind = 'GAP';

-- history: every step, with the header attributes on each. What was refused or could not be read
-- has no header and stands here with NULLs: ask the table event for its sop_instance_uid.
--     SELECT * FROM history WHERE study_instance_uid = '...' ORDER BY item, at_utc;
CREATE OR REPLACE SQL SECURITY INVOKER VIEW history AS
SELECT
    e.at AS at_utc,
    e.kind AS step,
    e.box,
    e.destination,
    e.peer_address,
    e.calling_aet,
    e.called_aet,
    CASE WHEN e.status_code IS NULL THEN ''
         ELSE CONCAT('0x', LPAD(HEX(e.status_code), 4, '0')) END AS status,
    e.detail,
    e.size_bytes,
    e.duration_s,
    e.item,
    i.sop_instance_uid,
    i.series_instance_uid,
    i.study_instance_uid,
    i.accession_number,
    i.patient_id,
    i.modality,
    e.id
FROM event e
LEFT JOIN image i ON i.item = e.item;

-- hop: one row per part of the way that one item has made. latency_per_hop sums it up.
CREATE OR REPLACE SQL SECURITY INVOKER VIEW hop AS
SELECT
    done.item,
    done.box,
    done.destination,
    CASE done.kind
        WHEN 'PUSHED' THEN 'received to pushed'
        WHEN 'LANDED' THEN 'received to landed'
        WHEN 'STORED' THEN CASE began.kind
            WHEN 'LANDED' THEN 'landed to stored' ELSE 'received to stored' END
        ELSE 'received to released' END AS hop,
    done.at,
    TIMESTAMPDIFF(MICROSECOND, began.at, done.at) / 1000000 AS seconds
FROM event done
JOIN event began ON began.item = done.item
WHERE done.kind IN ('PUSHED', 'LANDED', 'STORED', 'RELEASED') AND done.item <> ''
  AND (began.kind = 'RECEIVED'
       OR (began.kind = 'LANDED' AND done.kind = 'STORED' AND began.box = done.box));

-- latency_per_hop: per day (UTC), box, destination and hop: how many, and seconds in the middle
-- (median, the lower one of two), on average, and at worst. Hops over two boxes compare two clocks.
CREATE OR REPLACE SQL SECURITY INVOKER VIEW latency_per_hop AS
SELECT
    ranked.day,
    ranked.box,
    ranked.destination,
    ranked.hop,
    COUNT(*) AS images,
    MAX(CASE WHEN ranked.place = FLOOR((ranked.total + 1) / 2) THEN ranked.seconds END) AS median_s,
    AVG(ranked.seconds) AS average_s,
    MAX(ranked.seconds) AS longest_s
FROM (
    SELECT
        DATE(h.at) AS day,
        h.box,
        h.destination,
        h.hop,
        h.seconds,
        ROW_NUMBER() OVER (PARTITION BY DATE(h.at), h.box, h.destination, h.hop
                           ORDER BY h.seconds) AS place,
        COUNT(*) OVER (PARTITION BY DATE(h.at), h.box, h.destination, h.hop) AS total
    FROM hop h
) ranked
GROUP BY ranked.day, ranked.box, ranked.destination, ranked.hop;

-- volume_per_day: per day (UTC), site (the box that received) and modality.
CREATE OR REPLACE SQL SECURITY INVOKER VIEW volume_per_day AS
SELECT
    DATE(r.at) AS day,
    r.box AS site,
    COALESCE(i.modality, '') AS modality,
    COUNT(DISTINCT r.item) AS images,
    COALESCE(SUM(COALESCE(r.size_bytes, i.size_bytes)), 0) AS bytes,
    COUNT(DISTINCT i.study_instance_uid) AS studies
FROM event r
LEFT JOIN image i ON i.item = r.item
WHERE r.kind = 'RECEIVED'
GROUP BY DATE(r.at), r.box, COALESCE(i.modality, '');

-- same_uid_other_content: SOP Instance UIDs that came with more than one content, which no two
-- images may have. All are delivered; which of them an archive keeps is the archive's choice.
--     SELECT * FROM same_uid_other_content WHERE last_utc > UTC_TIMESTAMP() - INTERVAL 1 DAY;
CREATE OR REPLACE SQL SECURITY INVOKER VIEW same_uid_other_content AS
SELECT
    e.sop_instance_uid,
    COUNT(DISTINCT e.digest) AS contents,
    COUNT(DISTINCT e.item) AS images,
    MIN(e.at) AS first_utc,
    MAX(e.at) AS last_utc
FROM event e
WHERE e.kind IN ('RECEIVED', 'LANDED') AND e.digest <> '' AND e.sop_instance_uid <> ''
GROUP BY e.sop_instance_uid
HAVING COUNT(DISTINCT e.digest) > 1;
