-- How much all recordings take together.
-- Parameters: none
-- Columns: one number
SELECT COALESCE(sum(size_bytes), 0)
FROM recordings;
