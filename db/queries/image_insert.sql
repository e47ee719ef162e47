-- A new image.
-- Parameters: :id, :project_id, :host_id, :name, :kind, :format, :cmdline, :description, :state,
--    :state_reason, :source, :card, :screenshot, :revision, :created_at, :updated_at
-- Columns: none
INSERT INTO images (id, project_id, host_id, name, kind, format, cmdline, description, state,
                    state_reason, source, card, screenshot, revision, created_at, updated_at)
VALUES (:id, :project_id, :host_id, :name, :kind, :format, :cmdline, :description, :state,
        :state_reason, :source, :card, :screenshot, :revision, :created_at, :updated_at);
