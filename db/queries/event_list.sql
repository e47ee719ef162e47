-- A page of a project's events after a seq, oldest first.
-- Parameters: :project_id, :since_seq, :limit
-- Columns: as struct event_row
SELECT seq, at, project_id, host_id, type, subject_kind, subject_id, subject_name, actor,
       request_id, data
FROM events
WHERE project_id = :project_id AND seq > :since_seq
ORDER BY seq
LIMIT :limit;
