-- Forgets a program.
-- Parameters: :id
-- Columns: none
DELETE FROM execs
WHERE id = :id;
