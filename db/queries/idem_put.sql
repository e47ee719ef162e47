-- Remembers an answer.
-- Parameters: :actor, :key, :request_sha256, :status, :resource_kind, :resource_id, :created_at
-- Columns: none
INSERT INTO idempotency (actor, key, request_sha256, status, resource_kind, resource_id,
                         created_at)
VALUES (:actor, :key, :request_sha256, :status, :resource_kind, :resource_id, :created_at);
