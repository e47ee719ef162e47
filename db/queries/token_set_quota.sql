-- What a token may use.
-- Parameters: :id, :quota
-- Columns: none
UPDATE tokens SET quota = :quota WHERE id = :id;
