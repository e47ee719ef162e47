-- The seq of the oldest event that is kept; 0: there is none.
-- Parameters: none
-- Columns: seq
SELECT COALESCE(MIN(seq), 0) FROM events;
