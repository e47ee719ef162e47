-- How far a webhook is, and whether it is still tried.
-- Parameters: :id, :enabled, :disabled_reason, :last_seq, :next_attempt_at, :failures, :failing_since,
--    :last_status, :last_error, :last_attempt_at, :last_success_at
-- Columns: none
UPDATE webhooks
SET enabled = :enabled, disabled_reason = :disabled_reason, last_seq = :last_seq,
    next_attempt_at = :next_attempt_at, failures = :failures, failing_since = :failing_since,
    last_status = :last_status, last_error = :last_error, last_attempt_at = :last_attempt_at,
    last_success_at = :last_success_at
WHERE id = :id;
