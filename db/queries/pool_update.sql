-- Another definition of a pool.
-- Parameters: :id, :definition, :generation, :updated_at
-- Columns: none
UPDATE pools
SET definition = :definition, generation = :generation, updated_at = :updated_at
WHERE id = :id;
