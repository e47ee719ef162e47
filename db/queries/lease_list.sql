-- A page of leases, newest first; NULL for :state or :pool_id means any, and :labels is a JSON object
-- of what they must have.
-- Parameters: :project_id, :before_seq, :state, :pool_id, :labels, :limit
-- Columns: as struct lease_row
SELECT seq, id, project_id, host_id, pool_id, pool_name, vm_id, vm_name, holder, labels, actor, state,
       end_reason, on_expiry, warm, claim_us, ttl_seconds, max_seconds, idle_seconds, boot_id,
       expires_boot_ms, limit_boot_ms, expires_at, limit_at, created_at, claimed_at, renewed_at,
       ended_at, record, owner_token
FROM leases
WHERE project_id = :project_id AND seq < :before_seq
  AND (:state IS NULL OR state = :state)
  AND (:pool_id IS NULL OR pool_id = :pool_id)
  AND NOT EXISTS (SELECT 1 FROM json_each(:labels) AS wanted
                  WHERE NOT EXISTS (SELECT 1 FROM json_each(leases.labels) AS has
                                    WHERE has.key = wanted.key AND has.value = wanted.value))
ORDER BY seq DESC
LIMIT :limit;
