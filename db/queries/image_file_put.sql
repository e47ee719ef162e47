-- The bytes of one part of an image, new or replaced.
-- Parameters: :image_id, :role, :sha256, :size_bytes, :virtual_size_bytes, :verified_at,
--    :damaged_at
-- Columns: none
INSERT INTO image_files (image_id, role, sha256, size_bytes, virtual_size_bytes,
                         verified_at, damaged_at)
VALUES (:image_id, :role, :sha256, :size_bytes, :virtual_size_bytes, :verified_at,
        :damaged_at)
ON CONFLICT (image_id, role) DO UPDATE
SET sha256 = excluded.sha256, size_bytes = excluded.size_bytes,
    virtual_size_bytes = excluded.virtual_size_bytes, verified_at = excluded.verified_at,
    damaged_at = excluded.damaged_at;
