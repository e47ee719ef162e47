-- Tombstones no longer name an image, so that it can be removed.
-- Parameters: :id
-- Columns: none
UPDATE vms
SET image_id = NULL
WHERE image_id = :id AND deleted_at > 0;
