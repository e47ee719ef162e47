-- Programs that are streamed out of guests: where each stands, for a daemon that takes them up again.
CREATE TABLE execs (
    id    TEXT NOT NULL PRIMARY KEY CHECK (id <> ''),
    vm_id TEXT NOT NULL CHECK (vm_id <> ''),
    actor TEXT NOT NULL DEFAULT '',
    note  TEXT NOT NULL CHECK (note <> '') -- as JSON, see service/vm/exec_keep.c
) STRICT, WITHOUT ROWID;
