-- Forgets everything before the first event that is young enough. Walks the log from its old end
-- and needs no index on `at`; a clock that stepped back keeps a few events longer.
-- Parameters: :before
-- Columns: none
DELETE FROM events
WHERE seq < COALESCE((SELECT seq FROM events WHERE at >= :before ORDER BY seq LIMIT 1),
                     9223372036854775807);
