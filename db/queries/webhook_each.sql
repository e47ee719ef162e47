-- Every webhook, oldest first.
-- Parameters: none
-- Columns: as struct webhook_row
SELECT seq, id, project_id, url, events, labels, secret, enabled, disabled_reason, created_by,
       created_at, updated_at, last_seq, next_attempt_at, failures, failing_since, last_status,
       last_error, last_attempt_at, last_success_at
FROM webhooks
ORDER BY seq;
