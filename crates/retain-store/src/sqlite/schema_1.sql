-- Version 1 of the decision log in SQLite. Times are milliseconds since 1970-01-01 UTC; the views have them as texts too.

CREATE TABLE decisions (
    id TEXT NOT NULL PRIMARY KEY,
    customer_id TEXT NOT NULL,
    decided_at_ms INTEGER NOT NULL,
    playbook TEXT NOT NULL,
    playbook_sha256 TEXT NOT NULL,
    action TEXT NOT NULL,
    channel TEXT,
    propensity REAL NOT NULL,
    holdout INTEGER NOT NULL,
    expected_value REAL NOT NULL,
    cost REAL NOT NULL,
    currency TEXT NOT NULL,
    window_closes_at_ms INTEGER NOT NULL,
    context TEXT NOT NULL,
    candidates TEXT NOT NULL
) STRICT;

CREATE INDEX decisions_by_customer ON decisions (customer_id, decided_at_ms);
CREATE INDEX decisions_by_window ON decisions (window_closes_at_ms, id);

CREATE TABLE outcomes (
    decision_id TEXT NOT NULL REFERENCES decisions (id) ON DELETE CASCADE,
    key TEXT NOT NULL,
    kind TEXT NOT NULL,
    occurred_at_ms INTEGER NOT NULL,
    reported_at_ms INTEGER NOT NULL,
    value REAL,
    value_minor_units INTEGER,
    currency TEXT,
    PRIMARY KEY (decision_id, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE overrides (
    decision_id TEXT NOT NULL REFERENCES decisions (id) ON DELETE CASCADE,
    key TEXT NOT NULL,
    action TEXT NOT NULL,
    who TEXT NOT NULL,
    why TEXT NOT NULL,
    occurred_at_ms INTEGER NOT NULL,
    reported_at_ms INTEGER NOT NULL,
    PRIMARY KEY (decision_id, key)
) STRICT, WITHOUT ROWID;

CREATE VIEW decisions_readable AS
SELECT strftime('%Y-%m-%d %H:%M:%f', decided_at_ms / 1000.0, 'unixepoch') AS decided_at,
       strftime('%Y-%m-%d %H:%M:%f', window_closes_at_ms / 1000.0, 'unixepoch') AS window_closes_at,
       decisions.*
FROM decisions;

CREATE VIEW outcomes_readable AS
SELECT strftime('%Y-%m-%d %H:%M:%f', occurred_at_ms / 1000.0, 'unixepoch') AS occurred_at,
       strftime('%Y-%m-%d %H:%M:%f', reported_at_ms / 1000.0, 'unixepoch') AS reported_at,
       outcomes.*
FROM outcomes;
