-- A new token.
-- Parameters: :id, :project_id, :name, :role, :scopes, :hash, :created_by, :created_at,
--    :expires_at, :last_used_at
-- Columns: none
INSERT INTO tokens (id, project_id, name, role, scopes, hash, created_by, created_at,
                    expires_at, last_used_at)
VALUES (:id, :project_id, :name, :role, :scopes, :hash, :created_by, :created_at, :expires_at,
        :last_used_at);
