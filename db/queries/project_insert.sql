-- A new project.
-- Parameters: :id, :name, :quota, :memory_merge, :merge_with, :created_at
-- Columns: none
INSERT INTO projects (id, name, quota, memory_merge, merge_with, created_at)
VALUES (:id, :name, :quota, :memory_merge, :merge_with, :created_at);
