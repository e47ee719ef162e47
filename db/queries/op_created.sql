-- The operation that made a VM, its first one.
-- Parameters: :vm_id
-- Columns: as struct op_row
SELECT seq, id, project_id, host_id, COALESCE(vm_id, ''), COALESCE(image_id, ''), kind, state,
       params, actor, request_id, error_code, error_detail, error_remedy, error_pointer,
       created_at, started_at, finished_at, done_bytes, total_bytes, COALESCE(set_id, '')
FROM operations
WHERE vm_id = :vm_id AND kind = 'vm.create'
ORDER BY seq
LIMIT 1;
