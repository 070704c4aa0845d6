-- tackybox.sql as it was in version 1: without digest, lane, two indexes, shipment and views.
CREATE TABLE schema_version (
    version   INT UNSIGNED NOT NULL PRIMARY KEY,
    loaded_at DATETIME(6)  NOT NULL
) ENGINE = InnoDB;

CREATE TABLE event (
    id                  BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    kind                VARCHAR(16)   NOT NULL,
    box                 VARCHAR(64)   NOT NULL,
    item                VARCHAR(128)  NOT NULL,
    event_id            CHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    at                  DATETIME(6)   NOT NULL,
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
    status_code         INT           NULL,
    size_bytes          BIGINT        NULL,
    duration_s          DOUBLE        NULL,
    detail              VARCHAR(1000) NOT NULL,
    UNIQUE KEY event_id (event_id),
    KEY event_item (item, at),
    KEY event_sop (sop_instance_uid),
    KEY event_series (series_instance_uid),
    KEY event_study (study_instance_uid),
    KEY event_accession (accession_number)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

INSERT INTO schema_version (version, loaded_at) VALUES (1, '2026-01-01 00:00:00.000000');

INSERT INTO event (kind, box, item, event_id, at, sop_class_uid, transfer_syntax_uid,
    sop_instance_uid, series_instance_uid, study_instance_uid, accession_number, patient_id,
    modality, calling_aet, called_aet, peer_address, destination, status_code, size_bytes,
    duration_s, detail)
VALUES
    ('RECEIVED', 'north', 'i1', '00000000000000000000000000000001', '2026-01-01 10:00:00.000001',
     '', '', '1.2.3', '', '', '', '', '', 'CT1', '', '', '', NULL, 1000, NULL, ''),
    ('QUEUED', 'north', 'i1', '00000000000000000000000000000002', '2026-01-01 10:00:01.000000',
     '', '', '1.2.3', '1.2', '1', 'ACC1', 'P1', 'CT', '', '', '', 'mother', NULL, 1000, NULL, ''),
    ('PUSHED', 'north', 'i1', '00000000000000000000000000000003', '2026-01-01 10:00:02.500000',
     '', '', '', '', '', '', '', '', '', '', '', 'mother', NULL, NULL, 1.5, '');
