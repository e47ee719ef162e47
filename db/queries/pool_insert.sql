-- A new pool.
-- Parameters: :id, :project_id, :host_id, :name, :definition, :created_at, :updated_at, :generation
-- Columns: none
INSERT INTO pools (id, project_id, host_id, name, definition, generation, created_at, updated_at)
VALUES (:id, :project_id, :host_id, :name, :definition, :generation, :created_at, :updated_at);
