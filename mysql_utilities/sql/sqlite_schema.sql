-- The embedded journal, schema version 3. Harmless when it is already there, also over older ones.
-- seq is never used twice (AUTOINCREMENT) and grows in the order of commits, because SQLite has
-- one writer at a time: who has read up to a seq has missed nothing before it.
-- at is UTC text, YYYY-MM-DD HH:MM:SS.ffffff, which sorts as time does.
CREATE TABLE IF NOT EXISTS event (
    seq                 INTEGER PRIMARY KEY AUTOINCREMENT,
    kind                TEXT NOT NULL,
    box                 TEXT NOT NULL,
    item                TEXT NOT NULL,
    event_id            TEXT NOT NULL UNIQUE,
    at                  TEXT NOT NULL,
    digest              TEXT NOT NULL,
    sop_class_uid       TEXT NOT NULL,
    transfer_syntax_uid TEXT NOT NULL,
    sop_instance_uid    TEXT NOT NULL,
    series_instance_uid TEXT NOT NULL,
    study_instance_uid  TEXT NOT NULL,
    accession_number    TEXT NOT NULL,
    patient_id          TEXT NOT NULL,
    modality            TEXT NOT NULL,
    calling_aet         TEXT NOT NULL,
    called_aet          TEXT NOT NULL,
    peer_address        TEXT NOT NULL,
    destination         TEXT NOT NULL,
    lane                TEXT NOT NULL,
    status_code         INTEGER,
    size_bytes          INTEGER,
    duration_s          REAL,
    detail              TEXT NOT NULL
);

-- Only rows that have the key are indexed by it: most events name their item alone.
CREATE INDEX IF NOT EXISTS event_item ON event (item) WHERE item <> '';
CREATE INDEX IF NOT EXISTS event_sop ON event (sop_instance_uid) WHERE sop_instance_uid <> '';
CREATE INDEX IF NOT EXISTS event_series ON event (series_instance_uid) WHERE series_instance_uid <> '';
CREATE INDEX IF NOT EXISTS event_study ON event (study_instance_uid) WHERE study_instance_uid <> '';
CREATE INDEX IF NOT EXISTS event_accession ON event (accession_number) WHERE accession_number <> '';
CREATE INDEX IF NOT EXISTS event_patient ON event (patient_id) WHERE patient_id <> '';
-- How a destination fares is asked often and must not cost a walk through all events.
CREATE INDEX IF NOT EXISTS event_outlet ON event (destination, kind, peer_address, seq)
    WHERE kind IN ('OUTLET_DOWN', 'OUTLET_UP', 'DEFERRED', 'QUARANTINED');
-- Gaps are few, and asked for with every question.
CREATE INDEX IF NOT EXISTS event_gap ON event (at) WHERE kind = 'GAP';

-- One row: which journal this is. Servers remember by it how far they have been given it.
CREATE TABLE IF NOT EXISTS journal (
    journal_id TEXT NOT NULL PRIMARY KEY,
    began_at   TEXT NOT NULL
);

-- How far each server said, when it was last asked, that it has this journal: only what is there
-- may be forgotten here. The server's own note is the truth that shipping goes by.
CREATE TABLE IF NOT EXISTS shipped (
    server   TEXT NOT NULL PRIMARY KEY,
    last_seq INTEGER NOT NULL
);

PRAGMA user_version = 3;
