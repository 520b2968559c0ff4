-- Version 5: the latest payloads of a source, without the batches that were polled, which nobody reads again.
CREATE INDEX payloads_read ON payloads (source, id)
    WHERE error IS NULL AND content_type IS NOT 'application/vnd.watchkeeper.batch+json';
