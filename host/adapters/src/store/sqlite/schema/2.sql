-- Version 2: polled sources.

-- Where each stands: the cursor of its last batch that is kept.
CREATE TABLE cursors (
    source   TEXT    PRIMARY KEY,
    cursor   TEXT    NOT NULL,
    moved_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
