-- What became of a recording that is being made.
-- Parameters: :state, :state_reason, :finished_at, :duration_ms, :size_bytes, :id
-- Columns: none
UPDATE recordings
SET state = :state, state_reason = :state_reason, finished_at = :finished_at,
    duration_ms = :duration_ms, size_bytes = :size_bytes
WHERE id = :id AND state = 'recording';
