-- A new token.
-- Parameters: :id, :project_id, :name, :role, :scopes, :hash, :created_by, :created_at,
--    :expires_at, :last_used_at, :quota
-- Columns: none
INSERT INTO tokens (id, project_id, name, role, scopes, hash, created_by, created_at,
                    expires_at, last_used_at, quota)
VALUES (:id, :project_id, :name, :role, :scopes, :hash, :created_by, :created_at, :expires_at,
        :last_used_at, :quota);
