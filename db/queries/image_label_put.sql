-- A new version of a label, or the same one with another number to keep.
-- Parameters: :project_id, :name, :version, :image_id, :keep, :created_at
-- Columns: none
INSERT INTO image_labels (project_id, name, version, image_id, keep, created_at)
VALUES (:project_id, :name, :version, :image_id, :keep, :created_at)
ON CONFLICT (project_id, name, version) DO UPDATE SET keep = excluded.keep;
