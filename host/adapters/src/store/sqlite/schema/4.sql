-- Version 4: which key signs the audit log is asked at each entry.
CREATE INDEX audit_keys ON audit (seq) WHERE action = 'log.key_rotated';
