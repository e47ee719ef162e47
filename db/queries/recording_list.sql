-- A page of a project's recordings, newest first.
-- Parameters: :project_id, :before_seq, :limit
-- Columns: as struct recording_row
SELECT seq, id, project_id, vm_id, vm_name, stream, state, state_reason, actor, started_at,
       finished_at, duration_ms, size_bytes, rows, cols
FROM recordings
WHERE project_id = :project_id AND seq < :before_seq
ORDER BY seq DESC
LIMIT :limit;
