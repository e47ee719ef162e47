-- Tickets that outlive a moment: share links. The short ones a client draws for its next connection
-- stay in memory.
CREATE TABLE tickets (
    id           TEXT    NOT NULL PRIMARY KEY CHECK (length(id) = 12), -- the public part
    hash         TEXT    NOT NULL UNIQUE CHECK (length(hash) = 64), -- SHA-256 of the secret, hex
    project_id   TEXT    NOT NULL REFERENCES projects (id),
    vm_id        TEXT    NOT NULL CHECK (vm_id <> ''),
    stream       TEXT    NOT NULL CHECK (stream <> ''), -- "console", "channels/NAME", …
    mode         TEXT    NOT NULL CHECK (mode IN ('view', 'control')),
    single_use   INTEGER NOT NULL CHECK (single_use IN (0, 1)),
    name         TEXT    NOT NULL DEFAULT '',
    token_id     TEXT    REFERENCES tokens (id) ON DELETE CASCADE, -- NULL: made over the socket
    created_by   TEXT    NOT NULL DEFAULT '',
    maker_name   TEXT    NOT NULL DEFAULT '', -- of who made it, as others see it
    created_at   INTEGER NOT NULL CHECK (created_at >= 0),
    expires_at   INTEGER NOT NULL CHECK (expires_at > 0),
    last_used_at INTEGER NOT NULL DEFAULT 0 CHECK (last_used_at >= 0)
) STRICT, WITHOUT ROWID;

CREATE INDEX tickets_token ON tickets (token_id) WHERE token_id IS NOT NULL;
