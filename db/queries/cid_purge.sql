-- Forgets the CIDs of VMs whose tombstones vm_purge is about to forget. The counter in hosts
-- stays.
-- Parameters: :deleted_before
-- Columns: none
DELETE FROM cids
WHERE vm_id IN (SELECT id FROM vms WHERE deleted_at > 0 AND deleted_at < :deleted_before);
