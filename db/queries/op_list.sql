-- A page of a project's operations, newest first.
-- Parameters: :project_id, :before_seq, :limit
-- Columns: as struct op_row
SELECT seq, id, project_id, host_id, COALESCE(vm_id, ''), COALESCE(image_id, ''), kind, state,
       params, actor, request_id, error_code, error_detail, error_remedy, error_pointer,
       created_at, started_at, finished_at, done_bytes, total_bytes, COALESCE(set_id, '')
FROM operations
WHERE project_id = :project_id AND seq < :before_seq
ORDER BY seq DESC
LIMIT :limit;
