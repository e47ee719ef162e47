-- Does a living VM other than :id have the name? Asked after a conflict, to say which one it was.
-- Parameters: :project_id, :name, :id
-- Columns: 1
SELECT 1
FROM vms
WHERE project_id = :project_id AND name = :name AND deleted_at = 0 AND id <> :id;
