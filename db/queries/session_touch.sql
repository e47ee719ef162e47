-- When a session was last used.
-- Parameters: :last_used_at, :hash
-- Columns: none
UPDATE sessions
SET last_used_at = :last_used_at
WHERE hash = :hash;
