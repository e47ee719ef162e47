-- Removes a share link.
-- Parameters: :id
-- Columns: none
DELETE FROM tickets
WHERE id = :id;
