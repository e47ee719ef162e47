-- The VM is gone, or belongs to nobody but itself from now on.
-- Parameters: :vm_id
-- Columns: none
DELETE FROM pool_members WHERE vm_id = :vm_id;
