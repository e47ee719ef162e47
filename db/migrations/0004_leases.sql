-- VMs with a death date: pools that keep some warm, and leases that hand them out.

-- A template, and how many VMs of it are to be kept ready.
CREATE TABLE pools (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT, -- order of creation, the keyset of pages
    id         TEXT    NOT NULL UNIQUE CHECK (id <> ''),
    project_id TEXT    NOT NULL REFERENCES projects (id),
    host_id    TEXT    NOT NULL REFERENCES hosts (id),
    name       TEXT    NOT NULL CHECK (name <> ''),
    definition TEXT    NOT NULL CHECK (json_valid(definition)),
    generation INTEGER NOT NULL CHECK (generation >= 1), -- of the definition; the ETag
    created_at INTEGER NOT NULL CHECK (created_at >= 0),
    updated_at INTEGER NOT NULL CHECK (updated_at >= 0),
    UNIQUE (project_id, name)
) STRICT;

-- Which VM was made for which pool. Written with the VM, gone with it; the pool may go first.
CREATE TABLE pool_members (
    vm_id      TEXT    NOT NULL PRIMARY KEY CHECK (vm_id <> ''),
    pool_id    TEXT    NOT NULL CHECK (pool_id <> ''),
    generation INTEGER NOT NULL CHECK (generation >= 1) -- of the pool's definition it was made from
) STRICT, WITHOUT ROWID;

-- Who holds which VM until when. Ended ones are history and outlive their VM and pool.
CREATE TABLE leases (
    seq             INTEGER PRIMARY KEY AUTOINCREMENT, -- order of asking, the keyset of pages
    id              TEXT    NOT NULL UNIQUE CHECK (id <> ''),
    project_id      TEXT    NOT NULL REFERENCES projects (id),
    host_id         TEXT    NOT NULL REFERENCES hosts (id),
    pool_id         TEXT    NOT NULL DEFAULT '', -- '': from a definition of its own
    pool_name       TEXT    NOT NULL DEFAULT '',
    vm_id           TEXT    NOT NULL DEFAULT '', -- '': queued, or ended before it got one
    vm_name         TEXT    NOT NULL DEFAULT '',
    holder          TEXT    NOT NULL DEFAULT '',
    labels          TEXT    NOT NULL DEFAULT '{}' CHECK (json_valid(labels)),
    actor           TEXT    NOT NULL,
    state           TEXT    NOT NULL CHECK (state IN ('queued', 'active', 'ended')),
    end_reason      TEXT    NOT NULL DEFAULT '',
    on_expiry       TEXT    NOT NULL CHECK (on_expiry IN ('delete', 'stop', 'pause')),
    warm            INTEGER NOT NULL DEFAULT 0 CHECK (warm IN (0, 1)),
    claim_us        INTEGER NOT NULL DEFAULT 0 CHECK (claim_us >= 0), -- from asking to claiming
    ttl_seconds     INTEGER NOT NULL CHECK (ttl_seconds > 0),
    max_seconds     INTEGER NOT NULL CHECK (max_seconds > 0),         -- counted from claiming
    idle_seconds    INTEGER NOT NULL DEFAULT 0 CHECK (idle_seconds >= 0), -- 0: may idle
    -- Deadlines count on the clock that suspend does not stop and nobody sets; it begins anew with
    -- each boot of the host. The wall times below serve people, and the first start after a boot.
    boot_id         TEXT    NOT NULL,
    expires_boot_ms INTEGER NOT NULL, -- queued: when waiting ends
    limit_boot_ms   INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL CHECK (expires_at >= 0),
    limit_at        INTEGER NOT NULL CHECK (limit_at >= 0),
    created_at      INTEGER NOT NULL CHECK (created_at >= 0),
    claimed_at      INTEGER NOT NULL DEFAULT 0 CHECK (claimed_at >= 0),
    renewed_at      INTEGER NOT NULL DEFAULT 0 CHECK (renewed_at >= 0),
    ended_at        INTEGER NOT NULL DEFAULT 0 CHECK (ended_at >= 0),
    record          TEXT    NOT NULL DEFAULT '{}' CHECK (json_valid(record)) -- filled at its end
) STRICT;

CREATE INDEX leases_living ON leases (seq) WHERE state <> 'ended';
CREATE INDEX leases_vm ON leases (vm_id) WHERE vm_id <> '';
