-- Version 3: the outbox by channel, the audit log, API tokens.

-- What tells this store's incidents from those of another that pages the same people.
CREATE TABLE identity (
    id   INTEGER PRIMARY KEY,
    name TEXT    NOT NULL
) STRICT;
INSERT INTO identity VALUES (1, lower(hex(randomblob(6))));

-- One notice an incident and reason; once the incident has closed, a round later, the same reason counts anew.
-- `reason` has a # for each number, so that the same reason with another figure is the same.
ALTER TABLE notices RENAME TO notices_1;
CREATE TABLE notices (
    id         INTEGER PRIMARY KEY,
    incident   INTEGER NOT NULL,
    round      INTEGER NOT NULL,
    kind       TEXT    NOT NULL,
    reason     TEXT    NOT NULL,
    notice     TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    addressed  INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX notices_once ON notices (incident, round, kind, reason);
CREATE INDEX notices_unaddressed ON notices (id) WHERE addressed = 0;

-- A notice on its way to one channel. States: pending, delivered, given_up.
CREATE TABLE deliveries (
    id       INTEGER PRIMARY KEY,
    notice   INTEGER NOT NULL,
    incident INTEGER NOT NULL,
    channel  TEXT    NOT NULL,
    state    TEXT    NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    next_at  INTEGER NOT NULL,
    error    TEXT,
    ended_at INTEGER
) STRICT;
CREATE UNIQUE INDEX deliveries_once ON deliveries (notice, channel);
CREATE INDEX deliveries_due ON deliveries (channel, next_at) WHERE state = 'pending';
CREATE INDEX deliveries_in_order ON deliveries (channel, incident, id) WHERE state = 'pending';

INSERT INTO notices (id, incident, round, kind, reason, notice, created_at, addressed)
    SELECT id, incident, 0, 'escalated', coalesce(json_extract(notice, '$.reason'), ''),
        json_set(notice, '$.key', 'wk-' || (SELECT name FROM identity) || '-inc-' || incident),
        next_at, delivered_at IS NOT NULL
    FROM notices_1;
DROP TABLE notices_1;

-- The audit log (`domain::audit`). `hash` covers the other fields, `signature` the hash.
CREATE TABLE audit (
    seq       INTEGER PRIMARY KEY,
    at        INTEGER NOT NULL,
    actor     TEXT    NOT NULL,
    action    TEXT    NOT NULL,
    subject   TEXT    NOT NULL,
    detail    TEXT    NOT NULL,
    digest    BLOB    NOT NULL,
    previous  BLOB    NOT NULL,
    hash      BLOB    NOT NULL,
    signature BLOB    NOT NULL
) STRICT;
CREATE INDEX audit_subject ON audit (subject);
CREATE TRIGGER audit_is_never_changed BEFORE UPDATE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit log is never changed'); END;
CREATE TRIGGER audit_is_never_shortened BEFORE DELETE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit log is never shortened'); END;

-- API tokens: SHA-256 of each, never the token.
CREATE TABLE tokens (
    id           INTEGER PRIMARY KEY,
    name         TEXT    NOT NULL,
    role         TEXT    NOT NULL,
    hash         BLOB    NOT NULL,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER,
    revoked_at   INTEGER,
    last_used_at INTEGER
) STRICT;
CREATE UNIQUE INDEX tokens_name ON tokens (name) WHERE revoked_at IS NULL;
CREATE UNIQUE INDEX tokens_hash ON tokens (hash);
