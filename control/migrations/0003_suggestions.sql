-- Runs unchanged on SQLite and PostgreSQL: TEXT and BIGINT only. Fractions are decimal text that reads back to the
-- same number; lists of evidence and features are JSON that says the version of its form.

UPDATE meta SET value = '3' WHERE name = 'schema';

CREATE TABLE suggestions (
    tenant TEXT NOT NULL,
    id BIGINT NOT NULL,
    learner TEXT NOT NULL,
    state TEXT NOT NULL,
    origin TEXT NOT NULL,
    -- What makes two drafts the same one; the draft itself is JSON.
    draft_key TEXT NOT NULL,
    draft TEXT NOT NULL,
    confidence TEXT NOT NULL,
    relevance TEXT NOT NULL,
    rank BIGINT NOT NULL,
    propensity TEXT NOT NULL,
    justification TEXT NOT NULL,
    evidence TEXT NOT NULL,
    flows_seen BIGINT NOT NULL,
    flows_matched BIGINT NOT NULL,
    flows_newly_allowed BIGINT NOT NULL,
    flows_newly_denied BIGINT NOT NULL,
    flows_attributed BIGINT NOT NULL,
    over_permissiveness TEXT NOT NULL,
    -- Numbers of rules with commas between them.
    narrows TEXT NOT NULL,
    shadows TEXT NOT NULL,
    makes_explicit BIGINT NOT NULL,
    features TEXT NOT NULL,
    base_version BIGINT NOT NULL,
    model_version TEXT NOT NULL,
    window_end_ns BIGINT NOT NULL,
    submitted_ns BIGINT NOT NULL,
    PRIMARY KEY (tenant, id)
);
CREATE INDEX suggestions_by_state ON suggestions (tenant, state);
CREATE INDEX suggestions_by_draft ON suggestions (tenant, draft_key, id);

CREATE TABLE decisions (
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
    PRIMARY KEY (tenant, sequence),
    -- A suggestion is decided once, whichever control is asked.
    UNIQUE (tenant, suggestion_id)
);

CREATE TABLE learners (
    tenant TEXT NOT NULL,
    learner TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    reported_ns BIGINT NOT NULL,
    report TEXT NOT NULL,
    PRIMARY KEY (tenant, learner)
);
