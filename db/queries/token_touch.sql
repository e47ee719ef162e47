-- When a token was last used.
-- Parameters: :last_used_at, :id
-- Columns: none
UPDATE tokens
SET last_used_at = :last_used_at
WHERE id = :id;
