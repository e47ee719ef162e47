-- When a share link was last used.
-- Parameters: :last_used_at, :id
-- Columns: none
UPDATE tickets
SET last_used_at = :last_used_at
WHERE id = :id;
