-- A page of one VM's operations, newest first; a NULL state means any.
-- Parameters: :vm_id, :project_id, :before_seq, :state, :limit
-- Columns: as struct op_row
SELECT seq, id, project_id, host_id, COALESCE(vm_id, ''), COALESCE(image_id, ''), kind, state,
       params, actor, request_id, error_code, error_detail, error_remedy, error_pointer,
       created_at, started_at, finished_at, done_bytes, total_bytes, COALESCE(set_id, '')
FROM operations
WHERE vm_id = :vm_id AND project_id = :project_id AND seq < :before_seq
  AND (:state IS NULL OR state = :state)
ORDER BY seq DESC
LIMIT :limit;
