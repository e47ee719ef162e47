-- What its owner says of a webhook; how far it is stays.
-- Parameters: :id, :url, :events, :labels, :secret, :enabled, :disabled_reason, :updated_at
-- Columns: none
UPDATE webhooks
SET url = :url, events = :events, labels = :labels, secret = :secret, enabled = :enabled,
    disabled_reason = :disabled_reason, updated_at = :updated_at
WHERE id = :id;
