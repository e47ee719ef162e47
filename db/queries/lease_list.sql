-- A page of leases, newest first; NULL for :state or :pool_id means any.
-- Parameters: :project_id, :before_seq, :state, :pool_id, :limit
-- Columns: as struct lease_row
SELECT seq, id, project_id, host_id, pool_id, pool_name, vm_id, vm_name, holder, labels, actor, state,
       end_reason, on_expiry, warm, claim_us, ttl_seconds, max_seconds, idle_seconds, boot_id,
       expires_boot_ms, limit_boot_ms, expires_at, limit_at, created_at, claimed_at, renewed_at,
       ended_at, record, owner_token
FROM leases
WHERE project_id = :project_id AND seq < :before_seq
  AND (:state IS NULL OR state = :state)
  AND (:pool_id IS NULL OR pool_id = :pool_id)
ORDER BY seq DESC
LIMIT :limit;
