-- Forgets the blocks of a series and level that are too old.
-- Parameters: :name, :level, :before
-- Columns: none
DELETE FROM points
WHERE series = (SELECT id FROM series WHERE name = :name) AND level = :level AND start < :before;
