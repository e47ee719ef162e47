-- Does a label of the project have the name?
-- Parameters: :project_id, :name
-- Columns: 1
SELECT 1
FROM image_labels
WHERE project_id = :project_id AND name = :name;
