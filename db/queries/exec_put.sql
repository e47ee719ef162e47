-- A streamed program, or where it stands now.
-- Parameters: :id, :vm_id, :actor, :note
-- Columns: none
INSERT INTO execs (id, vm_id, actor, note)
VALUES (:id, :vm_id, :actor, :note)
ON CONFLICT (id) DO UPDATE SET note = excluded.note;
