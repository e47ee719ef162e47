-- Forgets the tombstones of VMs deleted before a time.
-- Parameters: :deleted_before
-- Columns: none
DELETE FROM vms
WHERE deleted_at > 0 AND deleted_at < :deleted_before;
