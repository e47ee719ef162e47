-- Every living project.
-- Parameters: none
-- Columns: as struct project_row
SELECT id, name, quota, memory_merge, merge_with, created_at
FROM projects
WHERE deleted_at = 0
ORDER BY id;
