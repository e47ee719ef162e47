-- Forgets what is too old, and the oldest when there are more than :keep. Walks the log from its old
-- end and needs no index on `at`; a clock that stepped back keeps a few entries longer.
-- Parameters: :before, :keep
-- Columns: none
DELETE FROM audit
WHERE seq < MAX(COALESCE((SELECT seq FROM audit WHERE at >= :before ORDER BY seq LIMIT 1),
                         9223372036854775807),
                COALESCE((SELECT seq FROM sqlite_sequence WHERE name = 'audit'), 0) - :keep + 1);
