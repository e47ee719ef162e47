-- With :due, those that ran are to be started again, else nobody new is; whom the host did not wait for is
-- told so.
-- Parameters: :due, :now
-- Columns: none
UPDATE guest_shutdowns
SET restart = CASE restart WHEN 1 THEN 2 * :due ELSE restart END,
    detail = CASE outcome WHEN '' THEN 'the host went down first' ELSE detail END,
    finished_at = CASE outcome WHEN '' THEN max(:now, started_at) ELSE finished_at END,
    outcome = CASE outcome WHEN '' THEN 'failed' ELSE outcome END;
