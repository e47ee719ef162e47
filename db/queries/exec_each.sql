-- Every streamed program that is remembered.
-- Parameters: none
-- Columns: as struct exec_row
SELECT id, vm_id, actor, note
FROM execs
ORDER BY id;
