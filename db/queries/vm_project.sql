-- Whose VM this is or was.
-- Parameters: :id
-- Columns: project_id
SELECT project_id FROM vms WHERE id = :id;
