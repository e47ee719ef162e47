-- What becomes of a VM while the host's guests are shut down, or how far that is.
-- Parameters: :vm_id, :operation_id, :project_id, :name, :action, :seconds, :outcome, :detail, :forced,
--    :restart, :started_at, :finished_at
-- Columns: none
INSERT INTO guest_shutdowns (vm_id, operation_id, project_id, name, action, seconds, outcome, detail,
                             forced, restart, started_at, finished_at)
VALUES (:vm_id, :operation_id, :project_id, :name, :action, :seconds, :outcome, :detail, :forced,
        :restart, :started_at, :finished_at)
ON CONFLICT (vm_id) DO UPDATE
SET operation_id = excluded.operation_id, name = excluded.name, action = excluded.action,
    seconds = excluded.seconds, outcome = excluded.outcome, detail = excluded.detail,
    forced = excluded.forced, restart = excluded.restart, started_at = excluded.started_at,
    finished_at = excluded.finished_at;
