-- A new browser session; an empty token_id means that it was made over the socket.
-- Parameters: :hash, :token_id, :created_at, :last_used_at
-- Columns: none
INSERT INTO sessions (hash, token_id, created_at, last_used_at)
VALUES (:hash, NULLIF(:token_id, ''), :created_at, :last_used_at);
