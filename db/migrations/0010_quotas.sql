-- What a project and a token may use at the same time, who made what, and how much each VM counts.
-- A quota is text like 'vms=10 cpus=20'; a resource that is not named has no limit.
ALTER TABLE projects ADD COLUMN quota TEXT NOT NULL DEFAULT '';
ALTER TABLE tokens ADD COLUMN quota TEXT NOT NULL DEFAULT '';

-- No foreign key: what a token made outlives it.
ALTER TABLE vms ADD COLUMN owner_token TEXT NOT NULL DEFAULT '';
ALTER TABLE vms ADD COLUMN cpus INTEGER NOT NULL DEFAULT 0 CHECK (cpus >= 0);
ALTER TABLE vms ADD COLUMN memory_mib INTEGER NOT NULL DEFAULT 0 CHECK (memory_mib >= 0);
ALTER TABLE vms ADD COLUMN disk_bytes INTEGER NOT NULL DEFAULT 0 CHECK (disk_bytes >= 0);
ALTER TABLE pools ADD COLUMN owner_token TEXT NOT NULL DEFAULT '';
ALTER TABLE leases ADD COLUMN owner_token TEXT NOT NULL DEFAULT '';

UPDATE vms
SET cpus = COALESCE(json_extract(spec, '$.cpus'), 0),
    memory_mib = COALESCE(json_extract(spec, '$.memory_mib'), 0),
    disk_bytes = COALESCE((SELECT SUM(json_extract(value, '$.size_gib')) << 30
                           FROM json_each(spec, '$.disks')), 0)
               + COALESCE(NULLIF(json_extract(spec, '$.root_disk_gib'), 0) << 30,
                          (SELECT f.virtual_size_bytes
                           FROM images i JOIN image_files f ON f.image_id = i.id
                           WHERE i.id = vms.image_id AND i.kind = 'disk' AND f.role = 'content'), 0)
WHERE deleted_at = 0;

-- Sums for a project and for one of its tokens, from the index alone.
CREATE INDEX vms_quota ON vms (project_id, owner_token, cpus, memory_mib, disk_bytes, deleted_at)
    WHERE deleted_at = 0;
CREATE INDEX leases_quota ON leases (project_id, owner_token, state) WHERE state <> 'ended';
