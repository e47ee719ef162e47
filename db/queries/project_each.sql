-- Every project.
-- Parameters: none
-- Columns: as struct project_row
SELECT id, name, quota, created_at
FROM projects
ORDER BY id;
