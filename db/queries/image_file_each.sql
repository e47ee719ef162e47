-- The files of every image.
-- Parameters: none
-- Columns: as struct image_file_row
SELECT image_id, role, sha256, size_bytes, virtual_size_bytes, verified_at, damaged_at
FROM image_files
ORDER BY image_id, role;
