-- The seq of the last event ever written; 0 before the first. Survives pruning.
-- Parameters: none
-- Columns: seq
SELECT COALESCE((SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0);
