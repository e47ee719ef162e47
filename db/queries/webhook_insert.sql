-- A new webhook.
-- Parameters: :id, :project_id, :url, :events, :labels, :secret, :enabled, :created_by, :created_at,
--    :updated_at, :last_seq
-- Columns: none
INSERT INTO webhooks (id, project_id, url, events, labels, secret, enabled, created_by, created_at,
                      updated_at, last_seq)
VALUES (:id, :project_id, :url, :events, :labels, :secret, :enabled, :created_by, :created_at,
        :updated_at, :last_seq);
