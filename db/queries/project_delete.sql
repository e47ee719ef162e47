-- A tombstone, which gives its name back.
-- Parameters: :id, :now
-- Columns: none
UPDATE projects
SET deleted_at = :now, name = name || '~' || id
WHERE id = :id AND deleted_at = 0;
