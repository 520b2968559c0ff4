-- Version 6: which dead letters no plugin was asked to read, since it was quarantined; those of a source, in order.
ALTER TABLE payloads ADD COLUMN asked INTEGER NOT NULL DEFAULT 1;
CREATE INDEX payloads_dead_of ON payloads (source, id) WHERE error IS NOT NULL;
CREATE INDEX payloads_unasked ON payloads (source, id) WHERE error IS NOT NULL AND asked = 0;
