-- Forgets all blocks of a series.
-- Parameters: :name
-- Columns: none
DELETE FROM blocks WHERE series = (SELECT id FROM series WHERE name = :name);
