-- Who asked for what, from where, and how it ended: writes, attached streams and refused credentials.
-- No reference to projects: what was done in a project is known after the project is gone.
CREATE TABLE audit (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    at          INTEGER NOT NULL CHECK (at >= 0),
    project_id  TEXT    NOT NULL,
    principal   TEXT    NOT NULL DEFAULT '', -- "token:ID", … or '': nobody whom we know
    name        TEXT    NOT NULL DEFAULT '', -- the token's, as it was then
    address     TEXT    NOT NULL DEFAULT '', -- of the client, or "unix:UID"
    method      TEXT    NOT NULL CHECK (method <> ''),
    operation   TEXT    NOT NULL CHECK (operation <> ''), -- the contract's operationId
    params      TEXT    NOT NULL DEFAULT '{}' CHECK (json_valid(params)), -- of the path
    status      INTEGER NOT NULL CHECK (status BETWEEN 100 AND 599),
    code        TEXT    NOT NULL DEFAULT '', -- of the problem, or ''
    request_id  TEXT    NOT NULL CHECK (request_id <> ''),
    duration_us INTEGER NOT NULL CHECK (duration_us >= 0)
) STRICT;

CREATE INDEX audit_project ON audit (project_id, seq);
