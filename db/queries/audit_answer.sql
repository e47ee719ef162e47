-- How a request ended whose entry was stored with what it changed; the one who asked may be known only now.
-- Parameters: :seq, :principal, :name, :project_id, :status, :code, :duration_us
-- Columns: none
UPDATE audit
SET principal = :principal, name = :name, project_id = :project_id, status = :status, code = :code,
    duration_us = :duration_us
WHERE seq = :seq;
