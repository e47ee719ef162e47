-- What a database looks like after the last migration, written for people. Nothing runs this file
-- but a test, which proves that a fresh database is equal to it.
--
-- Conventions: times are UTC milliseconds since 1970, 0 means "not yet" or "never"; ids are
-- lower-case UUIDs unless a comment says otherwise; a reference that may be missing is NULL.
-- No constraint is deferred: a violation must fail its own statement, never a whole group commit.
-- Operations and events are history and outlive what they tell of, hence no foreign key there.
--
-- A fresh database has one project ('default'), one host ('local') and the fact 'install_id'.

-- One row for each migration this file has seen.
CREATE TABLE migrations (
    version    INTEGER PRIMARY KEY CHECK (version >= 1), -- the number in front of its file name
    name       TEXT    NOT NULL,                         -- its file name without the suffix
    checksum   TEXT    NOT NULL CHECK (length(checksum) = 64), -- SHA-256 of its bytes, hex
    applied_at INTEGER NOT NULL CHECK (applied_at >= 0)
) STRICT;

-- Small facts about this installation, by key.
CREATE TABLE meta (
    key   TEXT NOT NULL PRIMARY KEY CHECK (key <> ''),
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Who owns things. A fresh installation has one, which trusts itself.
CREATE TABLE projects (
    id         TEXT    NOT NULL PRIMARY KEY CHECK (id <> ''), -- "default" or a UUID
    name       TEXT    NOT NULL UNIQUE CHECK (name <> ''),
    created_at INTEGER NOT NULL CHECK (created_at >= 0),
    quota      TEXT    NOT NULL DEFAULT '', -- like 'vms=10 cpus=20'; what is not named has no limit
    memory_merge INTEGER NOT NULL DEFAULT 0 CHECK (memory_merge IN (0, 1)), -- its VMs may merge
    merge_with TEXT    NOT NULL DEFAULT '', -- ids of other projects it trusts, if they trust it
    deleted_at INTEGER NOT NULL DEFAULT 0 CHECK (deleted_at >= 0) -- not 0: a tombstone
) STRICT, WITHOUT ROWID;

-- Where things run. One today.
CREATE TABLE hosts (
    id         TEXT    NOT NULL PRIMARY KEY CHECK (id <> ''), -- "local" or a UUID
    name       TEXT    NOT NULL UNIQUE CHECK (name <> ''),
    next_cid   INTEGER NOT NULL DEFAULT 1000 -- the next vsock CID to hand out; only ever grows
               CHECK (next_cid BETWEEN 1000 AND 4294967295),
    created_at INTEGER NOT NULL CHECK (created_at >= 0)
) STRICT, WITHOUT ROWID;

-- What VMs start from.
CREATE TABLE images (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT, -- order of creation, the keyset of pages
    id           TEXT    NOT NULL UNIQUE CHECK (id <> ''),
    project_id   TEXT    NOT NULL REFERENCES projects (id),
    host_id      TEXT    NOT NULL REFERENCES hosts (id),
    name         TEXT    NOT NULL CHECK (name <> ''),
    kind         TEXT    NOT NULL CHECK (kind IN ('disk', 'kernel', 'iso')),
    format       TEXT    NOT NULL DEFAULT '' CHECK (format IN ('', 'qcow2', 'raw')),
    cmdline      TEXT    NOT NULL DEFAULT '', -- kernel images
    description  TEXT    NOT NULL DEFAULT '',
    state        TEXT    NOT NULL
                 CHECK (state IN ('empty', 'importing', 'ready', 'failed', 'deleting')),
    state_reason TEXT    NOT NULL DEFAULT '',
    created_at   INTEGER NOT NULL CHECK (created_at >= 0),
    updated_at   INTEGER NOT NULL CHECK (updated_at >= 0)
    -- where its bytes come from, as JSON, or ''
    , source TEXT NOT NULL DEFAULT ''
    , card TEXT NOT NULL DEFAULT '' -- title, notes, ... as JSON, or ''
    , screenshot TEXT NOT NULL DEFAULT '' -- PNG in base64, or ''
    , revision INTEGER NOT NULL DEFAULT 1 -- counts changes of the row
    ) STRICT;

-- A name is free again as soon as its image is on the way out.
CREATE UNIQUE INDEX images_living_name ON images (project_id, name) WHERE state <> 'deleting';

-- The bytes of an image; the file is named by its digest and may serve several images.
CREATE TABLE image_files (
    image_id           TEXT    NOT NULL REFERENCES images (id) ON DELETE CASCADE,
    role               TEXT    NOT NULL CHECK (role IN ('content', 'kernel', 'initrd')),
    sha256             TEXT    NOT NULL CHECK (length(sha256) = 64), -- lower-case hex
    size_bytes         INTEGER NOT NULL CHECK (size_bytes >= 0),
    virtual_size_bytes INTEGER NOT NULL DEFAULT 0 CHECK (virtual_size_bytes >= 0), -- disks
    verified_at INTEGER NOT NULL DEFAULT 0, -- when the bytes were last compared with sha256
    damaged_at INTEGER NOT NULL DEFAULT 0, -- they did not agree; 0: whole, as far as known
    PRIMARY KEY (image_id, role)
) STRICT, WITHOUT ROWID;

-- Labels that move from image to image, one row for each image a label pointed at; the highest
-- version is where it points now.
CREATE TABLE image_labels (
    project_id TEXT    NOT NULL REFERENCES projects (id),
    name       TEXT    NOT NULL CHECK (name <> ''),
    version    INTEGER NOT NULL CHECK (version >= 1),
    image_id   TEXT    NOT NULL REFERENCES images (id) ON DELETE CASCADE,
    keep       INTEGER NOT NULL CHECK (keep >= 0), -- versions that stay; 0: all
    created_at INTEGER NOT NULL CHECK (created_at >= 0),
    PRIMARY KEY (project_id, name, version)
) STRICT, WITHOUT ROWID;

CREATE INDEX image_labels_image ON image_labels (image_id);

-- Virtual machines: what was asked for, and what Drover last knew of each.
CREATE TABLE vms (
    seq                 INTEGER PRIMARY KEY AUTOINCREMENT, -- order of creation, the keyset of pages
    id                  TEXT    NOT NULL UNIQUE CHECK (id <> ''), -- also the libvirt domain's UUID
    project_id          TEXT    NOT NULL REFERENCES projects (id),
    host_id             TEXT    NOT NULL REFERENCES hosts (id),
    name                TEXT    NOT NULL CHECK (name <> ''),
    spec                TEXT    NOT NULL CHECK (json_valid(spec)), -- the definition
    state               TEXT    NOT NULL
                        CHECK (state IN ('stopped', 'starting', 'running', 'paused', 'stopping',
                                         'saved', 'crashed', 'failed', 'deleting')),
    state_reason        TEXT    NOT NULL DEFAULT '',
    acceleration        TEXT    NOT NULL DEFAULT '' -- of the last start; '' before the first
                        CHECK (acceleration IN ('', 'kvm', 'emulated')),
    acceleration_reason TEXT    NOT NULL DEFAULT '', -- why not KVM
    image_id            TEXT    REFERENCES images (id),
    generation          INTEGER NOT NULL CHECK (generation >= 1), -- of the definition; the ETag
    defined_generation  INTEGER NOT NULL DEFAULT 0 CHECK (defined_generation >= 0), -- in libvirt
    running_generation  INTEGER NOT NULL DEFAULT 0 CHECK (running_generation >= 0), -- of the guest
    vsock_cid           INTEGER NOT NULL DEFAULT 0 -- 0: none; 1 and 2 are the host's
                        CHECK (vsock_cid = 0 OR vsock_cid BETWEEN 3 AND 4294967294),
    created_at          INTEGER NOT NULL CHECK (created_at >= 0),
    updated_at          INTEGER NOT NULL CHECK (updated_at >= 0),
    started_at          INTEGER NOT NULL DEFAULT 0 CHECK (started_at >= 0),
    deleted_at          INTEGER NOT NULL DEFAULT 0 CHECK (deleted_at >= 0), -- not 0: a tombstone
    -- of the current or last boot
    first_output_at     INTEGER NOT NULL DEFAULT 0 CHECK (first_output_at >= 0),
    kernel_at           INTEGER NOT NULL DEFAULT 0 CHECK (kernel_at >= 0),
    userland_at         INTEGER NOT NULL DEFAULT 0 CHECK (userland_at >= 0),
    ready_at            INTEGER NOT NULL DEFAULT 0 CHECK (ready_at >= 0),
    rebooted_at         INTEGER NOT NULL DEFAULT 0 CHECK (rebooted_at >= 0), -- last, since started_at
    last_attached_at    INTEGER NOT NULL DEFAULT 0 CHECK (last_attached_at >= 0), -- to a console
    boot_status         TEXT    NOT NULL DEFAULT '', -- what the guest last said about itself
    -- which machine of which set's member it is; '' and 0: of none
    set_id              TEXT    NOT NULL DEFAULT '',
    set_name            TEXT    NOT NULL DEFAULT '',
    set_machine         TEXT    NOT NULL DEFAULT '',
    set_member          INTEGER NOT NULL DEFAULT 0 CHECK (set_member >= 0),
    set_step            INTEGER NOT NULL DEFAULT 0 CHECK (set_step >= 0), -- see sets.step
    reimaged            INTEGER NOT NULL DEFAULT 0 CHECK (reimaged >= 0), -- times its disks were made anew
    owner_token         TEXT    NOT NULL DEFAULT '', -- whose quota it counts against; may be gone
    cpus                INTEGER NOT NULL DEFAULT 0 CHECK (cpus >= 0), -- what it counts
    memory_mib          INTEGER NOT NULL DEFAULT 0 CHECK (memory_mib >= 0),
    disk_bytes          INTEGER NOT NULL DEFAULT 0 CHECK (disk_bytes >= 0), -- as the guest sees them
    -- Whose memory and disks it began with; '': it booted. They are kept as long as anybody names them.
    template_id         TEXT    NOT NULL DEFAULT '',
    -- Not '': this VM is a pool's template, and what its memory was saved under (QEMU, processor, …).
    template_key        TEXT    NOT NULL DEFAULT '',
    -- whether its QEMU was started with its memory offered to KSM; 2: it was not, for distrust
    merges              INTEGER NOT NULL DEFAULT 0 CHECK (merges IN (0, 1, 2))
) STRICT;

-- A project cannot have two VMs of one name; one that is being deleted has given its name back.
CREATE UNIQUE INDEX vms_living_name ON vms (project_id, name)
    WHERE deleted_at = 0 AND state <> 'deleting';
CREATE INDEX vms_tombstones ON vms (deleted_at) WHERE deleted_at > 0;
CREATE INDEX vms_image ON vms (image_id) WHERE image_id IS NOT NULL;
-- What a project and a token use, from the index alone.
CREATE INDEX vms_quota ON vms (project_id, owner_token, cpus, memory_mib, disk_bytes, deleted_at)
    WHERE deleted_at = 0;

-- Every vsock CID ever handed out, until the VM's tombstone is purged. No foreign key: a CID is
-- drawn before the VM's row is written.
CREATE TABLE cids (
    host_id      TEXT    NOT NULL REFERENCES hosts (id),
    cid          INTEGER NOT NULL CHECK (cid BETWEEN 1000 AND 4294967294),
    vm_id        TEXT    NOT NULL CHECK (vm_id <> ''),
    allocated_at INTEGER NOT NULL CHECK (allocated_at >= 0),
    released_at  INTEGER NOT NULL DEFAULT 0 CHECK (released_at >= 0),
    PRIMARY KEY (host_id, cid)
) STRICT, WITHOUT ROWID;

CREATE INDEX cids_vm ON cids (vm_id);

-- Work on VMs and images: accepted, running, finished.
CREATE TABLE operations (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT, -- order of acceptance
    id           TEXT    NOT NULL UNIQUE CHECK (id <> ''),
    project_id   TEXT    NOT NULL REFERENCES projects (id),
    host_id      TEXT    NOT NULL REFERENCES hosts (id),
    vm_id        TEXT,
    image_id     TEXT,
    kind         TEXT    NOT NULL CHECK (kind <> ''), -- "vm.start", …
    state        TEXT    NOT NULL
                 CHECK (state IN ('pending', 'running', 'succeeded', 'failed', 'cancelled')),
    params       TEXT    NOT NULL DEFAULT '{}' CHECK (json_valid(params)),
    actor        TEXT    NOT NULL DEFAULT '',
    request_id   TEXT    NOT NULL DEFAULT '',
    error_code   TEXT    NOT NULL DEFAULT '', -- a problem's slug when failed
    error_detail TEXT    NOT NULL DEFAULT '',
    error_remedy TEXT    NOT NULL DEFAULT '',
    created_at   INTEGER NOT NULL CHECK (created_at >= 0),
    started_at   INTEGER NOT NULL DEFAULT 0 CHECK (started_at >= 0),
    finished_at  INTEGER NOT NULL DEFAULT 0 CHECK (finished_at >= 0),
    error_pointer TEXT NOT NULL DEFAULT '', -- the member of the definition at fault, or ''
    done_bytes INTEGER NOT NULL DEFAULT 0 CHECK (done_bytes >= 0), -- copied, when it copies
    total_bytes INTEGER NOT NULL DEFAULT 0 CHECK (total_bytes >= 0), -- 0: not known
    set_id TEXT, -- an operation on a whole set, or on one of its members
    CHECK ((state IN ('pending', 'running')) = (finished_at = 0))
) STRICT;

CREATE INDEX operations_project ON operations (project_id, seq);
CREATE INDEX operations_state ON operations (project_id, state, seq);
CREATE INDEX operations_vm ON operations (vm_id, seq) WHERE vm_id IS NOT NULL;
CREATE INDEX operations_set ON operations (set_id, seq) WHERE set_id IS NOT NULL;
CREATE INDEX operations_unfinished ON operations (seq) WHERE finished_at = 0;
CREATE INDEX operations_finished ON operations (finished_at) WHERE finished_at > 0;

-- What happened, in the order in which it was committed.
CREATE TABLE events (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT, -- strictly increasing, never used again
    at           INTEGER NOT NULL CHECK (at >= 0),
    project_id   TEXT    NOT NULL REFERENCES projects (id),
    host_id      TEXT    NOT NULL REFERENCES hosts (id),
    type         TEXT    NOT NULL CHECK (type <> ''), -- "vm.state", "token.created", …
    subject_kind TEXT    NOT NULL CHECK (subject_kind <> ''), -- "vm", "image", "token", "host", …
    subject_id   TEXT    NOT NULL DEFAULT '',
    subject_name TEXT    NOT NULL DEFAULT '',
    actor        TEXT    NOT NULL DEFAULT '',
    request_id   TEXT    NOT NULL DEFAULT '',
    data         TEXT    NOT NULL DEFAULT '{}' CHECK (json_valid(data))
) STRICT;

CREATE INDEX events_project ON events (project_id, seq);

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

-- Answers already given, by Idempotency-Key; written with the effect they name.
CREATE TABLE idempotency (
    actor          TEXT    NOT NULL CHECK (actor <> ''),
    key            TEXT    NOT NULL CHECK (key <> ''),
    request_sha256 TEXT    NOT NULL CHECK (length(request_sha256) = 64), -- method, path, body
    status         INTEGER NOT NULL CHECK (status BETWEEN 100 AND 599),
    resource_kind  TEXT    NOT NULL DEFAULT '', -- what the answer shows: "vm", "operation", …
    resource_id    TEXT    NOT NULL DEFAULT '',
    created_at     INTEGER NOT NULL CHECK (created_at >= 0),
    PRIMARY KEY (actor, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_age ON idempotency (created_at);

-- API tokens. The secret itself is never stored.
CREATE TABLE tokens (
    id           TEXT    NOT NULL PRIMARY KEY CHECK (length(id) = 12), -- the public part
    project_id   TEXT    NOT NULL REFERENCES projects (id),
    name         TEXT    NOT NULL CHECK (name <> ''),
    role         TEXT    NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
    scopes       TEXT    NOT NULL DEFAULT '', -- space-separated; '' is all of the role
    hash         TEXT    NOT NULL CHECK (length(hash) = 64), -- SHA-256 of the whole token, hex
    created_by   TEXT    NOT NULL DEFAULT '',
    created_at   INTEGER NOT NULL CHECK (created_at >= 0),
    expires_at   INTEGER NOT NULL DEFAULT 0 CHECK (expires_at >= 0),
    last_used_at INTEGER NOT NULL DEFAULT 0 CHECK (last_used_at >= 0),
    quota        TEXT    NOT NULL DEFAULT '' -- like 'vms=10 cpus=20'; what is not named has no limit
) STRICT, WITHOUT ROWID;

-- Browser sessions. Each has the rights of its token and ends with it.
CREATE TABLE sessions (
    hash         TEXT    NOT NULL PRIMARY KEY CHECK (length(hash) = 64), -- SHA-256 of the cookie
    token_id     TEXT    REFERENCES tokens (id) ON DELETE CASCADE, -- NULL: made over the socket
    created_at   INTEGER NOT NULL CHECK (created_at >= 0),
    last_used_at INTEGER NOT NULL CHECK (last_used_at >= 0)
) STRICT, WITHOUT ROWID;

CREATE INDEX sessions_token ON sessions (token_id) WHERE token_id IS NOT NULL;

-- Tickets that outlive a moment: share links. The short ones a client draws for its next connection
-- stay in memory. The secret itself is never stored.
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

-- Programs that are streamed out of guests: where each stands, for a daemon that takes them up again.
CREATE TABLE execs (
    id    TEXT NOT NULL PRIMARY KEY CHECK (id <> ''),
    vm_id TEXT NOT NULL CHECK (vm_id <> ''),
    actor TEXT NOT NULL DEFAULT '',
    note  TEXT NOT NULL CHECK (note <> '') -- as JSON, see service/vm/exec_keep.c
) STRICT, WITHOUT ROWID;

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
    owner_token TEXT   NOT NULL DEFAULT '', -- whose quota the VMs that wait count against
    UNIQUE (project_id, name)
) STRICT;

-- Which VM was made for which pool. Written with the VM, gone with it; the pool may go first.
CREATE TABLE pool_members (
    vm_id      TEXT    NOT NULL PRIMARY KEY CHECK (vm_id <> ''),
    pool_id    TEXT    NOT NULL CHECK (pool_id <> ''),
    generation INTEGER NOT NULL CHECK (generation >= 1) -- of the pool's definition it was made from
) STRICT, WITHOUT ROWID;

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
    owner_token     TEXT    NOT NULL DEFAULT '', -- whose quota its VMs count against
    UNIQUE (project_id, name)
) STRICT;

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
    record          TEXT    NOT NULL DEFAULT '{}' CHECK (json_valid(record)), -- filled at its end
    owner_token     TEXT    NOT NULL DEFAULT '' -- whose quota it counts against
) STRICT;

CREATE INDEX leases_living ON leases (seq) WHERE state <> 'ended';
CREATE INDEX leases_quota ON leases (project_id, owner_token, state) WHERE state <> 'ended';
CREATE INDEX leases_vm ON leases (vm_id) WHERE vm_id <> '';

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

-- Who is told of events, how far each is, and what the last deliveries came to.
CREATE TABLE webhooks (
    seq             INTEGER PRIMARY KEY AUTOINCREMENT,
    id              TEXT    NOT NULL UNIQUE CHECK (id <> ''),
    project_id      TEXT    NOT NULL REFERENCES projects (id),
    url             TEXT    NOT NULL CHECK (url <> ''), -- http or https
    events          TEXT    NOT NULL CHECK (events <> ''), -- patterns, separated by spaces
    labels          TEXT    NOT NULL DEFAULT '{}' CHECK (json_valid(labels)),
    secret          TEXT    NOT NULL CHECK (secret <> ''), -- the key itself: it signs
    enabled         INTEGER NOT NULL CHECK (enabled IN (0, 1)),
    disabled_reason TEXT    NOT NULL DEFAULT '', -- why we gave up, or ''
    created_by      TEXT    NOT NULL DEFAULT '',
    created_at      INTEGER NOT NULL CHECK (created_at >= 0),
    updated_at      INTEGER NOT NULL CHECK (updated_at >= 0),
    last_seq        INTEGER NOT NULL CHECK (last_seq >= 0), -- of the last event it is done with
    next_attempt_at INTEGER NOT NULL DEFAULT 0 CHECK (next_attempt_at >= 0),
    failures        INTEGER NOT NULL DEFAULT 0 CHECK (failures >= 0), -- in a row
    failing_since   INTEGER NOT NULL DEFAULT 0 CHECK (failing_since >= 0),
    last_status     INTEGER NOT NULL DEFAULT 0 CHECK (last_status >= 0), -- 0: no answer
    last_error      TEXT    NOT NULL DEFAULT '',
    last_attempt_at INTEGER NOT NULL DEFAULT 0 CHECK (last_attempt_at >= 0),
    last_success_at INTEGER NOT NULL DEFAULT 0 CHECK (last_success_at >= 0)
) STRICT;

-- The newest attempts of each webhook; older ones go.
CREATE TABLE webhook_deliveries (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    webhook_id TEXT    NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    at         INTEGER NOT NULL CHECK (at >= 0),
    message_id TEXT    NOT NULL,
    type       TEXT    NOT NULL,
    seq        INTEGER NOT NULL CHECK (seq >= 0), -- of the event; of a gap its last
    attempt    INTEGER NOT NULL CHECK (attempt >= 1),
    status     INTEGER NOT NULL CHECK (status >= 0),
    error      TEXT    NOT NULL DEFAULT '',
    took_ms    INTEGER NOT NULL CHECK (took_ms >= 0)
) STRICT;

CREATE INDEX webhook_deliveries_webhook ON webhook_deliveries (webhook_id, id);
