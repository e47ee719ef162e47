-- Does another image of the project have the name? Asked after a conflict, to say which one it
-- was.
-- Parameters: :project_id, :name, :id
-- Columns: 1
SELECT 1
FROM images
WHERE project_id = :project_id AND name = :name AND state <> 'deleting' AND id <> :id;
