-- Every living VM, in order of creation.
-- Parameters: none
-- Columns: as struct vm_row
SELECT seq, id, project_id, host_id, name, spec, state, state_reason, acceleration,
       acceleration_reason, COALESCE(image_id, ''), generation, defined_generation,
       running_generation, vsock_cid, created_at, updated_at, started_at, deleted_at
FROM vms
WHERE deleted_at = 0
ORDER BY seq;
