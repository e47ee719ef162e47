-- Those that were being made: what a restart closes.
-- Parameters: none
-- Columns: as struct recording_row
SELECT seq, id, project_id, vm_id, vm_name, stream, state, state_reason, actor, started_at,
       finished_at, duration_ms, size_bytes, rows, cols
FROM recordings
WHERE state = 'recording'
ORDER BY seq;
