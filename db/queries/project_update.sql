-- What a project may use, and whom it trusts.
-- Parameters: :id, :quota, :memory_merge, :merge_with
-- Columns: none
UPDATE projects
SET quota = :quota, memory_merge = :memory_merge, merge_with = :merge_with
WHERE id = :id AND deleted_at = 0;
