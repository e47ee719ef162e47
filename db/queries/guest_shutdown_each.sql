-- Every VM of the last shutdown of the host's guests.
-- Parameters: none
-- Columns: as struct guest_shutdown_row
SELECT vm_id, operation_id, project_id, name, action, seconds, outcome, detail, forced, restart,
       started_at, finished_at
FROM guest_shutdowns
ORDER BY started_at, vm_id;
