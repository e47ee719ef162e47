-- Removes a token; its sessions go with it.
-- Parameters: :id
-- Columns: none
DELETE FROM tokens
WHERE id = :id;
