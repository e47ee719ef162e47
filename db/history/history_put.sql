-- Writes a block, or a newer state of it.
-- Parameters: :name, :level, :start, :data
-- Columns: none
INSERT INTO points (series, level, start, data)
SELECT id, :level, :start, :data FROM series WHERE name = :name
ON CONFLICT (series, level, start) DO UPDATE SET data = excluded.data;
