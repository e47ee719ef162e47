-- Every version of every label, oldest first.
-- Parameters: none
-- Columns: as struct image_label_row
SELECT project_id, name, version, image_id, keep, created_at
FROM image_labels
ORDER BY project_id, name, version;
