-- What is recorded of a migration.
-- Parameters: :version
-- Columns: checksum
SELECT checksum
FROM migrations
WHERE version = :version;
