-- The set goes, after the last of its VMs.
-- Parameters: :id
-- Columns: none
DELETE FROM sets WHERE id = :id;
