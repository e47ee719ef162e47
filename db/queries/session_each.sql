-- Every session.
-- Parameters: none
-- Columns: as struct session_row
SELECT hash, COALESCE(token_id, ''), created_at, last_used_at
FROM sessions;
