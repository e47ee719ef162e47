-- The blocks of a series and level that begin in a span, oldest first.
-- Parameters: :name, :level, :since, :until
-- Columns: start, data
SELECT start, data FROM points
WHERE series = (SELECT id FROM series WHERE name = :name) AND level = :level
  AND start >= :since AND start <= :until
ORDER BY start;
