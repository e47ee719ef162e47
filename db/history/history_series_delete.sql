-- Forgets a series whose blocks are gone.
-- Parameters: :name
-- Columns: none
DELETE FROM series WHERE name = :name;
