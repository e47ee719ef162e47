-- All but the newest :keep deliveries of a webhook go.
-- Parameters: :webhook_id, :keep
-- Columns: none
DELETE FROM webhook_deliveries
WHERE webhook_id = :webhook_id
  AND id <= (SELECT id FROM webhook_deliveries WHERE webhook_id = :webhook_id
             ORDER BY id DESC LIMIT 1 OFFSET :keep);
