-- Versions of a label up to one; a huge one means all.
-- Parameters: :project_id, :name, :version
-- Columns: none
DELETE FROM image_labels
WHERE project_id = :project_id AND name = :name AND version <= :version;
