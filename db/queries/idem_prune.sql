-- Forgets answers given before a time.
-- Parameters: :created_before
-- Columns: none
DELETE FROM idempotency
WHERE created_at < :created_before;
