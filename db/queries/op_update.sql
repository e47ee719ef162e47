-- How far an operation is; no row changes when there is none.
-- Parameters: :state, :error_code, :error_detail, :error_remedy, :error_pointer, :started_at,
--    :finished_at, :id
-- Columns: none
UPDATE operations
SET state = :state, error_code = :error_code, error_detail = :error_detail,
    error_remedy = :error_remedy, error_pointer = :error_pointer, started_at = :started_at,
    finished_at = :finished_at
WHERE id = :id;
