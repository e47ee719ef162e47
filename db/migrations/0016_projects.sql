-- Several projects: whose memory may be merged with whose, and projects that are gone. A deleted one
-- keeps its row, which events and tombstones name, and gives its name back.
ALTER TABLE projects ADD COLUMN memory_merge INTEGER NOT NULL DEFAULT 0
    CHECK (memory_merge IN (0, 1));
ALTER TABLE projects ADD COLUMN merge_with TEXT NOT NULL DEFAULT '';
ALTER TABLE projects ADD COLUMN deleted_at INTEGER NOT NULL DEFAULT 0 CHECK (deleted_at >= 0);
UPDATE projects SET memory_merge = 1;

-- Whether its QEMU was started with its memory offered; 2: it was not, for distrust.
ALTER TABLE vms ADD COLUMN merges INTEGER NOT NULL DEFAULT 0 CHECK (merges IN (0, 1, 2));
UPDATE vms
SET merges = 1
WHERE deleted_at = 0 AND COALESCE(json_extract(spec, '$.memory_merge'), 1) <> 0;
