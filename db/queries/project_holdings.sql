-- What keeps a project from being deleted.
-- Parameters: :project_id
-- Columns: vms, images, pools, sets, leases, recordings, webhooks, tokens
SELECT (SELECT COUNT(*) FROM vms WHERE project_id = :project_id AND deleted_at = 0),
       (SELECT COUNT(*) FROM images WHERE project_id = :project_id AND state <> 'deleting'),
       (SELECT COUNT(*) FROM pools WHERE project_id = :project_id),
       (SELECT COUNT(*) FROM sets WHERE project_id = :project_id),
       (SELECT COUNT(*) FROM leases WHERE project_id = :project_id AND state <> 'ended'),
       (SELECT COUNT(*) FROM recordings WHERE project_id = :project_id),
       (SELECT COUNT(*) FROM webhooks WHERE project_id = :project_id),
       (SELECT COUNT(*) FROM tokens WHERE project_id = :project_id);
