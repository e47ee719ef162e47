-- Forgets all blocks of a series.
-- Parameters: :name
-- Columns: none
DELETE FROM points WHERE series = (SELECT id FROM series WHERE name = :name);
