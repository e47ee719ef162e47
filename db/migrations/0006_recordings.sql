-- Recordings of consoles; the bytes are in files named by the id. They outlive their VM, hence no
-- foreign key to it.
CREATE TABLE recordings (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT, -- order of beginning, the keyset of pages
    id           TEXT    NOT NULL UNIQUE CHECK (id <> ''),
    project_id   TEXT    NOT NULL REFERENCES projects (id),
    vm_id        TEXT    NOT NULL CHECK (vm_id <> ''),
    vm_name      TEXT    NOT NULL CHECK (vm_name <> ''), -- when it began
    stream       TEXT    NOT NULL CHECK (stream <> ''), -- "console", "channels/NAME", …
    state        TEXT    NOT NULL CHECK (state IN ('recording', 'finished', 'failed')),
    state_reason TEXT    NOT NULL DEFAULT '',
    actor        TEXT    NOT NULL DEFAULT '',
    started_at   INTEGER NOT NULL CHECK (started_at >= 0),
    finished_at  INTEGER NOT NULL DEFAULT 0 CHECK (finished_at >= 0),
    duration_ms  INTEGER NOT NULL DEFAULT 0 CHECK (duration_ms >= 0),
    size_bytes   INTEGER NOT NULL DEFAULT 0 CHECK (size_bytes >= 0),
    rows         INTEGER NOT NULL CHECK (rows >= 1), -- at the beginning
    cols         INTEGER NOT NULL CHECK (cols >= 1),
    CHECK ((state = 'recording') = (finished_at = 0))
) STRICT;

-- One recording of a stream at a time.
CREATE UNIQUE INDEX recordings_open ON recordings (vm_id, stream) WHERE state = 'recording';
CREATE INDEX recordings_project ON recordings (project_id, seq);
CREATE INDEX recordings_vm ON recordings (vm_id, seq);
CREATE INDEX recordings_finished ON recordings (finished_at) WHERE finished_at > 0;
