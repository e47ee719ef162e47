-- What a project may use.
-- Parameters: :id, :quota
-- Columns: none
UPDATE projects SET quota = :quota WHERE id = :id;
