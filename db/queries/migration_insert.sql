-- Records a migration, in its own transaction.
-- Parameters: :version, :name, :checksum, :applied_at
-- Columns: none
INSERT INTO migrations (version, name, checksum, applied_at)
VALUES (:version, :name, :checksum, :applied_at);
