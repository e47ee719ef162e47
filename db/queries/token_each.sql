-- Every token.
-- Parameters: none
-- Columns: as struct token_row
SELECT id, project_id, name, role, scopes, hash, created_by, created_at, expires_at, last_used_at,
       quota
FROM tokens
ORDER BY id;
