-- What the last shutdown of the host's guests did with each VM: for the report, for the daemon that goes
-- on with it after a crash, and for the boot after it.
CREATE TABLE guest_shutdowns (
    vm_id        TEXT    NOT NULL PRIMARY KEY CHECK (vm_id <> ''),
    operation_id TEXT    NOT NULL CHECK (operation_id <> ''), -- that took hold of it last
    project_id   TEXT    NOT NULL CHECK (project_id <> ''),
    name         TEXT    NOT NULL CHECK (name <> ''), -- when it was asked
    action       TEXT    NOT NULL CHECK (action IN ('shutdown', 'save', 'leave', 'stop')),
    seconds      INTEGER NOT NULL CHECK (seconds >= 0), -- that it has
    outcome      TEXT    NOT NULL DEFAULT '' -- '': not known yet
                 CHECK (outcome IN ('', 'shutdown', 'saved', 'stopped', 'left', 'cancelled', 'failed')),
    detail       TEXT    NOT NULL DEFAULT '', -- why it came differently than its policy says, or ''
    forced       INTEGER NOT NULL DEFAULT 0 CHECK (forced IN (0, 1)), -- its plug is pulled, or about to be
    restart      INTEGER NOT NULL DEFAULT 0 CHECK (restart IN (0, 1, 2)), -- 1: it ran; 2: to be started again
    started_at   INTEGER NOT NULL CHECK (started_at >= 0),
    finished_at  INTEGER NOT NULL DEFAULT 0 CHECK (finished_at >= 0),
    CHECK ((outcome = '') = (finished_at = 0))
) STRICT, WITHOUT ROWID;
