-- A new share link; an empty token_id means that it was made over the socket.
-- Parameters: :id, :hash, :project_id, :vm_id, :stream, :mode, :single_use, :name, :token_id,
--    :created_by, :maker_name, :created_at, :expires_at
-- Columns: none
INSERT INTO tickets (id, hash, project_id, vm_id, stream, mode, single_use, name, token_id,
                     created_by, maker_name, created_at, expires_at)
VALUES (:id, :hash, :project_id, :vm_id, :stream, :mode, :single_use, :name,
        NULLIF(:token_id, ''), :created_by, :maker_name, :created_at, :expires_at);
