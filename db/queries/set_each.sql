-- Every set, in order of creation.
-- Parameters: none
-- Columns: as struct set_row
SELECT seq, id, project_id, host_id, name, definition, actor, step, deleting, boot_id,
       expires_boot_ms, expires_at, created_at, updated_at, owner_token
FROM sets
ORDER BY seq;
