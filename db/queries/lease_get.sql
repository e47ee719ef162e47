-- One lease of a project, by its id.
-- Parameters: :project_id, :id
-- Columns: as struct lease_row
SELECT seq, id, project_id, host_id, pool_id, pool_name, vm_id, vm_name, holder, labels, actor, state,
       end_reason, on_expiry, warm, claim_us, ttl_seconds, max_seconds, idle_seconds, boot_id,
       expires_boot_ms, limit_boot_ms, expires_at, limit_at, created_at, claimed_at, renewed_at,
       ended_at, record, owner_token
FROM leases
WHERE id = :id AND project_id = :project_id;
