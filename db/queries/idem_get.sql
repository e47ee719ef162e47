-- The answer already given to an actor's key.
-- Parameters: :actor, :key
-- Columns: as struct idem_row
SELECT actor, key, request_sha256, status, resource_kind, resource_id, created_at
FROM idempotency
WHERE actor = :actor AND key = :key;
