-- Runs unchanged on SQLite and PostgreSQL: TEXT and BIGINT only.
-- An answer can be taken back, and a suggestion be answered again: of its decisions one stands.

UPDATE meta SET value = '5' WHERE name = 'schema';

CREATE TABLE answers (
    tenant TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    suggestion_id BIGINT NOT NULL,
    verdict TEXT NOT NULL,
    reason TEXT NOT NULL,
    comment TEXT NOT NULL,
    actor TEXT NOT NULL,
    time_ns BIGINT NOT NULL,
    version BIGINT NOT NULL,
    -- The relationship as it was committed, JSON; empty for a rejection.
    relationship TEXT NOT NULL,
    -- 1 for what control accepted under its own role.
    is_automatic BIGINT NOT NULL,
    -- Sequence of the withdrawal; 0 while the decision stands.
    withdrawn_by BIGINT NOT NULL,
    PRIMARY KEY (tenant, sequence),
    -- Of a suggestion one decision stands, whichever control is asked.
    UNIQUE (tenant, suggestion_id, withdrawn_by)
);
INSERT INTO answers SELECT tenant, sequence, suggestion_id, verdict, reason, comment, actor, time_ns, version,
    relationship, 0, 0 FROM decisions;
DROP TABLE decisions;
ALTER TABLE answers RENAME TO decisions;

-- Places in the same sequence as decisions.
CREATE TABLE withdrawals (
    tenant TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    suggestion_id BIGINT NOT NULL,
    decision BIGINT NOT NULL,
    comment TEXT NOT NULL,
    actor TEXT NOT NULL,
    time_ns BIGINT NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (tenant, sequence)
);
CREATE INDEX withdrawals_by_suggestion ON withdrawals (tenant, suggestion_id);

-- Steps of learners' gates that stand in the audit trail.
CREATE TABLE gate_steps (
    tenant TEXT NOT NULL,
    learner TEXT NOT NULL,
    time_ns BIGINT NOT NULL,
    audited_ns BIGINT NOT NULL,
    PRIMARY KEY (tenant, learner, time_ns)
);

CREATE TABLE automatic_kinds (
    tenant TEXT NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    since_ns BIGINT NOT NULL,
    actor TEXT NOT NULL,
    comment TEXT NOT NULL,
    -- JSON that says the version of its form, as below.
    settings TEXT NOT NULL,
    PRIMARY KEY (tenant, kind)
);

CREATE TABLE automatic_runs (
    tenant TEXT NOT NULL,
    decision BIGINT NOT NULL,
    suggestion_id BIGINT NOT NULL,
    kind TEXT NOT NULL,
    relationship BIGINT NOT NULL,
    begun_ns BIGINT NOT NULL,
    stage TEXT NOT NULL,
    since_ns BIGINT NOT NULL,
    settings TEXT NOT NULL,
    expected TEXT NOT NULL,
    steps TEXT NOT NULL,
    PRIMARY KEY (tenant, decision),
    -- What was taken back once is for people.
    UNIQUE (tenant, suggestion_id)
);
CREATE INDEX automatic_runs_by_stage ON automatic_runs (tenant, stage);
