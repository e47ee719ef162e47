-- Ends a session.
-- Parameters: :hash
-- Columns: none
DELETE FROM sessions
WHERE hash = :hash;
