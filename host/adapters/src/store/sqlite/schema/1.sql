-- The store's tables, version 1. Times are Unix milliseconds; severities 0 info, 1 warning, 2 critical;
-- an alert's status 1 firing, 0 resolved.

-- Every payload as it came. One with an error is a dead letter, until a replay clears it.
CREATE TABLE payloads (
    id           INTEGER PRIMARY KEY,
    source       TEXT    NOT NULL,
    received_at  INTEGER NOT NULL,
    content_type TEXT,
    attributes   TEXT    NOT NULL,
    body         BLOB    NOT NULL,
    error        TEXT
) STRICT;
CREATE INDEX payloads_dead ON payloads (id) WHERE error IS NOT NULL;

-- One row an occurrence.
CREATE TABLE alerts (
    seq           INTEGER PRIMARY KEY,
    source        TEXT    NOT NULL,
    id            TEXT    NOT NULL,
    starts_at     INTEGER NOT NULL,
    severity      INTEGER NOT NULL,
    firing        INTEGER NOT NULL,
    title         TEXT    NOT NULL,
    description   TEXT    NOT NULL,
    labels        TEXT    NOT NULL,
    annotations   TEXT    NOT NULL,
    ends_at       INTEGER,
    received_at   INTEGER NOT NULL,
    last_heard_at INTEGER NOT NULL,
    times_heard   INTEGER NOT NULL,
    payload       INTEGER NOT NULL,
    incident      INTEGER
) STRICT;
CREATE UNIQUE INDEX alerts_occurrence ON alerts (id, source, starts_at);
CREATE INDEX alerts_incident ON alerts (incident, firing) WHERE incident IS NOT NULL;

CREATE TABLE incidents (
    id            INTEGER PRIMARY KEY,
    key           TEXT    NOT NULL,
    open          INTEGER NOT NULL,
    severity      INTEGER NOT NULL,
    title         TEXT    NOT NULL,
    source        TEXT    NOT NULL,
    opened_at     INTEGER NOT NULL,
    closed_at     INTEGER,
    investigation INTEGER
) STRICT;
CREATE UNIQUE INDEX incidents_open ON incidents (key) WHERE open;
CREATE INDEX incidents_key ON incidents (key);
CREATE INDEX incidents_title ON incidents (title);

CREATE TABLE investigations (
    id         INTEGER PRIMARY KEY,
    incident   INTEGER NOT NULL,
    state      TEXT    NOT NULL,
    trigger    TEXT    NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at   INTEGER,
    report     TEXT,
    reason     TEXT
) STRICT;
CREATE INDEX investigations_incident ON investigations (incident);
CREATE INDEX investigations_open ON investigations (id) WHERE ended_at IS NULL;

CREATE TABLE events (
    investigation INTEGER NOT NULL,
    seq           INTEGER NOT NULL,
    at            INTEGER NOT NULL,
    event         TEXT    NOT NULL,
    PRIMARY KEY (investigation, seq)
) STRICT, WITHOUT ROWID;

-- The outbox. One notice an incident.
CREATE TABLE notices (
    id           INTEGER PRIMARY KEY,
    incident     INTEGER NOT NULL UNIQUE,
    notice       TEXT    NOT NULL,
    attempts     INTEGER NOT NULL DEFAULT 0,
    next_at      INTEGER NOT NULL,
    delivered_at INTEGER,
    error        TEXT
) STRICT;
CREATE INDEX notices_due ON notices (next_at) WHERE delivered_at IS NULL;

-- One row, written over, to see whether the store can be written.
CREATE TABLE probe (
    id INTEGER PRIMARY KEY,
    at INTEGER NOT NULL
) STRICT;
