-- What the living VMs of a project count; NULL for :owner_token means of every token.
-- Parameters: :project_id, :owner_token
-- Columns: count, cpus, memory_mib, disk_bytes
SELECT COUNT(*), COALESCE(SUM(cpus), 0), COALESCE(SUM(memory_mib), 0), COALESCE(SUM(disk_bytes), 0)
FROM vms INDEXED BY vms_quota
WHERE project_id = :project_id AND deleted_at = 0
  AND (:owner_token IS NULL OR owner_token = :owner_token);
