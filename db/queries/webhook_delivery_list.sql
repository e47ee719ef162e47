-- A page of a webhook's deliveries, newest first.
-- Parameters: :webhook_id, :before_id, :limit
-- Columns: as struct webhook_delivery_row
SELECT id, webhook_id, at, message_id, type, seq, attempt, status, error, took_ms
FROM webhook_deliveries
WHERE webhook_id = :webhook_id AND id < :before_id
ORDER BY id DESC
LIMIT :limit;
