-- Has a VM other than :id the name? One that is being deleted has it no more.
-- Parameters: :project_id, :name, :id
-- Columns: 1
SELECT 1
FROM vms
WHERE project_id = :project_id AND name = :name AND deleted_at = 0 AND state <> 'deleting'
  AND id <> :id;
