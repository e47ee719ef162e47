-- A fact by key.
-- Parameters: :key
-- Columns: value
SELECT value
FROM meta
WHERE key = :key;
