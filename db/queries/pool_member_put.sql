-- The VM was made for the pool.
-- Parameters: :vm_id, :pool_id, :generation
-- Columns: none
INSERT INTO pool_members (vm_id, pool_id, generation)
VALUES (:vm_id, :pool_id, :generation);
