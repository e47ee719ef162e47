-- A page of a project's audit log, newest first; an empty text is no filter.
-- Parameters: :project_id, :before_seq, :since, :until, :principal, :operation, :min_status, :limit
-- Columns: as struct audit_row
SELECT seq, at, project_id, principal, name, address, method, operation, params, status, code,
       request_id, duration_us
FROM audit
WHERE project_id = :project_id AND seq < :before_seq AND at >= :since AND at < :until
      AND (:principal = '' OR principal = :principal)
      AND (:operation = '' OR operation = :operation) AND status >= :min_status
ORDER BY seq DESC
LIMIT :limit;
