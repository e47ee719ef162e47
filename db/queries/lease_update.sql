-- What may change of a lease that has not ended. One that has ended never changes again.
-- Parameters: :id, :vm_id, :vm_name, :state, :end_reason, :warm, :claim_us, :ttl_seconds, :boot_id,
--    :expires_boot_ms, :limit_boot_ms, :expires_at, :limit_at, :claimed_at, :renewed_at, :ended_at,
--    :record
-- Columns: none
UPDATE leases
SET vm_id = :vm_id, vm_name = :vm_name, state = :state, end_reason = :end_reason, warm = :warm,
    claim_us = :claim_us, ttl_seconds = :ttl_seconds, boot_id = :boot_id,
    expires_boot_ms = :expires_boot_ms, limit_boot_ms = :limit_boot_ms, expires_at = :expires_at,
    limit_at = :limit_at, claimed_at = :claimed_at, renewed_at = :renewed_at, ended_at = :ended_at,
    record = :record
WHERE id = :id AND state <> 'ended';
