-- A bucket that a narrower one within it has overtaken does not count until it is delivered again.

ALTER TABLE flow_buckets ADD COLUMN is_stale BIGINT NOT NULL DEFAULT 0;
UPDATE meta SET value = '2' WHERE name = 'schema';
