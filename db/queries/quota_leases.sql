-- How many leases of a project have not ended; NULL for :owner_token means of every token.
-- Parameters: :project_id, :owner_token
-- Columns: count
SELECT COUNT(*)
FROM leases INDEXED BY leases_quota
WHERE project_id = :project_id AND state <> 'ended'
  AND (:owner_token IS NULL OR owner_token = :owner_token);
