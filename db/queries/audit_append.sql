-- Adds to the audit log.
-- Parameters: :at, :project_id, :principal, :name, :address, :method, :operation, :params, :status,
--    :code, :request_id, :duration_us
-- Columns: none
INSERT INTO audit (at, project_id, principal, name, address, method, operation, params, status,
                   code, request_id, duration_us)
VALUES (:at, :project_id, :principal, :name, :address, :method, :operation, :params, :status,
        :code, :request_id, :duration_us);
