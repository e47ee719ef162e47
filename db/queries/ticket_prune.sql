-- Removes a share link whose time is up by either clock, and all that have expired.
-- Parameters: :id, :expired_before
-- Columns: none
DELETE FROM tickets
WHERE id = :id OR expires_at <= :expired_before;
