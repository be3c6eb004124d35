-- Version 1 of the decision log in PostgreSQL. Times are milliseconds since 1970-01-01 UTC; the views have them as texts too.
-- `json` keeps the text that was written; `jsonb` would change its numbers and order. Ids of customers sort by bytes.

CREATE TABLE decisions (
    id UUID NOT NULL PRIMARY KEY,
    customer_id TEXT COLLATE "C" NOT NULL,
    decided_at_ms BIGINT NOT NULL,
    playbook TEXT NOT NULL,
    playbook_sha256 TEXT NOT NULL,
    action TEXT NOT NULL,
    channel TEXT,
    propensity DOUBLE PRECISION NOT NULL,
    holdout BOOLEAN NOT NULL,
    expected_value DOUBLE PRECISION NOT NULL,
    cost DOUBLE PRECISION NOT NULL,
    currency TEXT NOT NULL,
    window_closes_at_ms BIGINT NOT NULL,
    context JSON NOT NULL,
    candidates JSON NOT NULL
);

CREATE INDEX decisions_by_customer ON decisions (customer_id, decided_at_ms);
CREATE INDEX decisions_by_window ON decisions (window_closes_at_ms, id);

CREATE TABLE outcomes (
    decision_id UUID NOT NULL REFERENCES decisions (id) ON DELETE CASCADE,
    key TEXT COLLATE "C" NOT NULL,
    kind TEXT NOT NULL,
    occurred_at_ms BIGINT NOT NULL,
    reported_at_ms BIGINT NOT NULL,
    value DOUBLE PRECISION,
    value_minor_units BIGINT,
    currency TEXT,
    PRIMARY KEY (decision_id, key)
);

CREATE TABLE overrides (
    decision_id UUID NOT NULL REFERENCES decisions (id) ON DELETE CASCADE,
    key TEXT COLLATE "C" NOT NULL,
    action TEXT NOT NULL,
    who TEXT NOT NULL,
    why TEXT NOT NULL,
    occurred_at_ms BIGINT NOT NULL,
    reported_at_ms BIGINT NOT NULL,
    PRIMARY KEY (decision_id, key)
);

CREATE VIEW decisions_readable AS
SELECT to_char(to_timestamp(decided_at_ms / 1000.0) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.MS') AS decided_at,
       to_char(to_timestamp(window_closes_at_ms / 1000.0) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.MS') AS window_closes_at,
       decisions.*
FROM decisions;

CREATE VIEW outcomes_readable AS
SELECT to_char(to_timestamp(occurred_at_ms / 1000.0) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.MS') AS occurred_at,
       to_char(to_timestamp(reported_at_ms / 1000.0) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.MS') AS reported_at,
       outcomes.*
FROM outcomes;
