-- Which VM belongs to which pool.
-- Parameters: none
-- Columns: vm_id, pool_id, generation
SELECT vm_id, pool_id, generation FROM pool_members;
