-- How far an operation is; no row changes when there is none.
-- Parameters: :state, :error_code, :error_detail, :error_remedy, :error_pointer, :started_at,
--    :finished_at, :done_bytes, :total_bytes, :id
-- Columns: none
UPDATE operations
SET state = :state, error_code = :error_code, error_detail = :error_detail,
    error_remedy = :error_remedy, error_pointer = :error_pointer, started_at = :started_at,
    finished_at = :finished_at, done_bytes = :done_bytes, total_bytes = :total_bytes
WHERE id = :id;
