-- A new pool.
-- Parameters: :id, :project_id, :host_id, :name, :definition, :created_at, :updated_at, :generation,
--    :owner_token
-- Columns: none
INSERT INTO pools (id, project_id, host_id, name, definition, generation, created_at, updated_at,
                   owner_token)
VALUES (:id, :project_id, :host_id, :name, :definition, :generation, :created_at, :updated_at,
        :owner_token);
