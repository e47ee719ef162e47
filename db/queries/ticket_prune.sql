-- Removes the share links that have expired.
-- Parameters: :expired_before
-- Columns: none
DELETE FROM tickets
WHERE expires_at <= :expired_before;
