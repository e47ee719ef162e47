-- Every share link.
-- Parameters: none
-- Columns: as struct ticket_row
SELECT id, hash, project_id, vm_id, stream, mode, single_use, name, COALESCE(token_id, ''),
       created_by, maker_name, created_at, expires_at, last_used_at
FROM tickets
ORDER BY id;
