-- What an attempt came to; nothing when its webhook has gone.
-- Parameters: :webhook_id, :at, :message_id, :type, :seq, :attempt, :status, :error, :took_ms
-- Columns: none
INSERT INTO webhook_deliveries (webhook_id, at, message_id, type, seq, attempt, status, error, took_ms)
SELECT id, :at, :message_id, :type, :seq, :attempt, :status, :error, :took_ms
FROM webhooks
WHERE id = :webhook_id;
