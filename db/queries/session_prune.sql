-- Forgets sessions that are too old or unused for too long.
-- Parameters: :created_before, :used_before
-- Columns: none
DELETE FROM sessions
WHERE created_at < :created_before OR last_used_at < :used_before;
