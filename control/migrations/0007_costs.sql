-- Runs unchanged on SQLite and PostgreSQL: TEXT and BIGINT only. Prices are millionths of the currency.

UPDATE meta SET value = '7' WHERE name = 'schema';

CREATE TABLE cost_tables (
    tenant TEXT NOT NULL,
    revision BIGINT NOT NULL,
    currency TEXT NOT NULL,
    PRIMARY KEY (tenant)
);

CREATE TABLE cost_prices (
    tenant TEXT NOT NULL,
    from_zone TEXT NOT NULL,
    to_zone TEXT NOT NULL,
    price_millionths BIGINT NOT NULL,
    PRIMARY KEY (tenant, from_zone, to_zone)
);

-- Bytes by zone of what was let pass: beside the sums of a bucket, for the buckets of an hour.
CREATE TABLE zone_sums (
    tenant TEXT NOT NULL,
    collector TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    width_s BIGINT NOT NULL,
    start_s BIGINT NOT NULL,
    source_groups TEXT NOT NULL,
    destination_groups TEXT NOT NULL,
    rule BIGINT NOT NULL,
    -- The name of a zone, "external" or "unknown".
    source_zone TEXT NOT NULL,
    destination_zone TEXT NOT NULL,
    bytes_forward BIGINT NOT NULL,
    bytes_reverse BIGINT NOT NULL
);
CREATE INDEX zone_sums_by_bucket ON zone_sums (tenant, width_s, start_s, collector, epoch);
