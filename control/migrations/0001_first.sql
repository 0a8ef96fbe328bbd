-- Runs unchanged on SQLite and PostgreSQL: TEXT and BIGINT only, digests and hashes as hexadecimal text.

CREATE TABLE meta (
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);
INSERT INTO meta (name, value) VALUES ('application', 'meshgate-control');
INSERT INTO meta (name, value) VALUES ('schema', '1');

CREATE TABLE versions (
    tenant TEXT NOT NULL,
    version BIGINT NOT NULL,
    digest TEXT NOT NULL,
    author TEXT NOT NULL,
    comment TEXT NOT NULL,
    committed_ns BIGINT NOT NULL,
    authored TEXT NOT NULL,
    numbering TEXT NOT NULL,
    PRIMARY KEY (tenant, version)
);

CREATE TABLE audit (
    tenant TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    time_ns BIGINT NOT NULL,
    actor TEXT NOT NULL,
    event TEXT NOT NULL,
    detail TEXT NOT NULL,
    hash TEXT NOT NULL,
    PRIMARY KEY (tenant, sequence)
);

CREATE TABLE hosts (
    tenant TEXT NOT NULL,
    host TEXT NOT NULL,
    role TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    version BIGINT NOT NULL,
    digest TEXT NOT NULL,
    nack_version BIGINT NOT NULL,
    nack_reason TEXT NOT NULL,
    last_seen_ns BIGINT NOT NULL,
    commit_to_ack_ns BIGINT NOT NULL,
    PRIMARY KEY (tenant, host)
);

CREATE TABLE flow_buckets (
    tenant TEXT NOT NULL,
    collector TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    width_s BIGINT NOT NULL,
    start_s BIGINT NOT NULL,
    records_lost BIGINT NOT NULL,
    PRIMARY KEY (tenant, collector, epoch, width_s, start_s)
);
CREATE INDEX flow_buckets_by_age ON flow_buckets (tenant, width_s, start_s);

CREATE TABLE flow_sums (
    tenant TEXT NOT NULL,
    collector TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    width_s BIGINT NOT NULL,
    start_s BIGINT NOT NULL,
    segment BIGINT NOT NULL,
    -- Numbers between commas, one at each end too: ",16,17,".
    source_groups TEXT NOT NULL,
    destination_groups TEXT NOT NULL,
    protocol BIGINT NOT NULL,
    service_port BIGINT NOT NULL,
    action BIGINT NOT NULL,
    stage BIGINT NOT NULL,
    rule BIGINT NOT NULL,
    shadow_rule BIGINT NOT NULL,
    flows BIGINT NOT NULL,
    packets_forward BIGINT NOT NULL,
    bytes_forward BIGINT NOT NULL,
    packets_reverse BIGINT NOT NULL,
    bytes_reverse BIGINT NOT NULL,
    first_ns BIGINT NOT NULL,
    last_ns BIGINT NOT NULL
);
CREATE INDEX flow_sums_by_bucket ON flow_sums (tenant, width_s, start_s, collector, epoch);
