-- The finished recordings that ended first, before a moment.
-- Parameters: :finished_before, :limit
-- Columns: as struct recording_row
SELECT seq, id, project_id, vm_id, vm_name, stream, state, state_reason, actor, started_at,
       finished_at, duration_ms, size_bytes, rows, cols
FROM recordings
WHERE finished_at > 0 AND finished_at < :finished_before
ORDER BY finished_at
LIMIT :limit;
