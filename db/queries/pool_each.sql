-- Every pool, in order of creation.
-- Parameters: none
-- Columns: as struct pool_row
SELECT seq, id, project_id, host_id, name, definition, generation, created_at, updated_at, owner_token
FROM pools
ORDER BY seq;
