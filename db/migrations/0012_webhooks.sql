-- Who is told of events, how far each is, and what the last deliveries came to.
CREATE TABLE webhooks (
    seq             INTEGER PRIMARY KEY AUTOINCREMENT,
    id              TEXT    NOT NULL UNIQUE CHECK (id <> ''),
    project_id      TEXT    NOT NULL REFERENCES projects (id),
    url             TEXT    NOT NULL CHECK (url <> ''),
    events          TEXT    NOT NULL CHECK (events <> ''),
    labels          TEXT    NOT NULL DEFAULT '{}' CHECK (json_valid(labels)),
    secret          TEXT    NOT NULL CHECK (secret <> ''),
    enabled         INTEGER NOT NULL CHECK (enabled IN (0, 1)),
    disabled_reason TEXT    NOT NULL DEFAULT '',
    created_by      TEXT    NOT NULL DEFAULT '',
    created_at      INTEGER NOT NULL CHECK (created_at >= 0),
    updated_at      INTEGER NOT NULL CHECK (updated_at >= 0),
    last_seq        INTEGER NOT NULL CHECK (last_seq >= 0),
    next_attempt_at INTEGER NOT NULL DEFAULT 0 CHECK (next_attempt_at >= 0),
    failures        INTEGER NOT NULL DEFAULT 0 CHECK (failures >= 0),
    failing_since   INTEGER NOT NULL DEFAULT 0 CHECK (failing_since >= 0),
    last_status     INTEGER NOT NULL DEFAULT 0 CHECK (last_status >= 0),
    last_error      TEXT    NOT NULL DEFAULT '',
    last_attempt_at INTEGER NOT NULL DEFAULT 0 CHECK (last_attempt_at >= 0),
    last_success_at INTEGER NOT NULL DEFAULT 0 CHECK (last_success_at >= 0)
) STRICT;

CREATE TABLE webhook_deliveries (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    webhook_id TEXT    NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    at         INTEGER NOT NULL CHECK (at >= 0),
    message_id TEXT    NOT NULL,
    type       TEXT    NOT NULL,
    seq        INTEGER NOT NULL CHECK (seq >= 0),
    attempt    INTEGER NOT NULL CHECK (attempt >= 1),
    status     INTEGER NOT NULL CHECK (status >= 0),
    error      TEXT    NOT NULL DEFAULT '',
    took_ms    INTEGER NOT NULL CHECK (took_ms >= 0)
) STRICT;

CREATE INDEX webhook_deliveries_webhook ON webhook_deliveries (webhook_id, id);
