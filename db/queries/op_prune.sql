-- Forgets operations that finished before a time.
-- Parameters: :finished_before
-- Columns: none
DELETE FROM operations
WHERE finished_at > 0 AND finished_at < :finished_before;
