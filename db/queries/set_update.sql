-- Everything of a set that can change.
-- Parameters: :definition, :step, :deleting, :boot_id, :expires_boot_ms, :expires_at, :updated_at, :id
-- Columns: none
UPDATE sets
SET definition = :definition, step = :step, deleting = :deleting, boot_id = :boot_id,
    expires_boot_ms = :expires_boot_ms, expires_at = :expires_at, updated_at = :updated_at
WHERE id = :id;
