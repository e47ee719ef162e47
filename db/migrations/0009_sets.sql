-- Sets: machines for many people, made, started, reset and deleted as one.
CREATE TABLE sets (
    seq             INTEGER PRIMARY KEY AUTOINCREMENT, -- order of creation, the keyset of pages
    id              TEXT    NOT NULL UNIQUE CHECK (id <> ''),
    project_id      TEXT    NOT NULL REFERENCES projects (id),
    host_id         TEXT    NOT NULL REFERENCES hosts (id),
    name            TEXT    NOT NULL CHECK (name <> ''),
    definition      TEXT    NOT NULL CHECK (json_valid(definition)),
    actor           TEXT    NOT NULL,
    step            INTEGER NOT NULL CHECK (step >= 1), -- of the operation accepted last
    deleting        INTEGER NOT NULL DEFAULT 0 CHECK (deleting IN (0, 1)), -- a promise
    -- Its end, on the clock of a lease's end; expires_at 0: never.
    boot_id         TEXT    NOT NULL,
    expires_boot_ms INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL CHECK (expires_at >= 0),
    created_at      INTEGER NOT NULL CHECK (created_at >= 0),
    updated_at      INTEGER NOT NULL CHECK (updated_at >= 0),
    UNIQUE (project_id, name)
) STRICT;

-- Which VM is which machine of which member; the set may go first.
ALTER TABLE vms ADD COLUMN set_id TEXT NOT NULL DEFAULT '';
ALTER TABLE vms ADD COLUMN set_name TEXT NOT NULL DEFAULT '';
ALTER TABLE vms ADD COLUMN set_machine TEXT NOT NULL DEFAULT '';
ALTER TABLE vms ADD COLUMN set_member INTEGER NOT NULL DEFAULT 0 CHECK (set_member >= 0);
-- The set's operation that last took hold of this VM.
ALTER TABLE vms ADD COLUMN set_step INTEGER NOT NULL DEFAULT 0 CHECK (set_step >= 0);
-- How often its disks were made anew; cloud-init is told another instance with each.
ALTER TABLE vms ADD COLUMN reimaged INTEGER NOT NULL DEFAULT 0 CHECK (reimaged >= 0);

ALTER TABLE operations ADD COLUMN set_id TEXT;
CREATE INDEX operations_set ON operations (set_id, seq) WHERE set_id IS NOT NULL;
