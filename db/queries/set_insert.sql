-- A new set.
-- Parameters: :id, :project_id, :host_id, :name, :definition, :actor, :step, :deleting, :boot_id,
--    :expires_boot_ms, :expires_at, :created_at, :updated_at, :owner_token
-- Columns: none
INSERT INTO sets (id, project_id, host_id, name, definition, actor, step, deleting, boot_id,
                  expires_boot_ms, expires_at, created_at, updated_at, owner_token)
VALUES (:id, :project_id, :host_id, :name, :definition, :actor, :step, :deleting, :boot_id,
        :expires_boot_ms, :expires_at, :created_at, :updated_at, :owner_token);
