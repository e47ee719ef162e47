-- Adds to the log.
-- Parameters: :at, :project_id, :host_id, :type, :subject_kind, :subject_id, :subject_name,
--    :actor, :request_id, :data
-- Columns: none
INSERT INTO events (at, project_id, host_id, type, subject_kind, subject_id, subject_name,
                    actor, request_id, data)
VALUES (:at, :project_id, :host_id, :type, :subject_kind, :subject_id, :subject_name, :actor,
        :request_id, :data);
