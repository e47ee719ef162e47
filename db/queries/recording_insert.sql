-- A recording that begins; fails when the stream is being recorded already.
-- Parameters: :id, :project_id, :vm_id, :vm_name, :stream, :actor, :started_at, :rows, :cols
-- Columns: none
INSERT INTO recordings (id, project_id, vm_id, vm_name, stream, state, actor, started_at, rows, cols)
VALUES (:id, :project_id, :vm_id, :vm_name, :stream, 'recording', :actor, :started_at, :rows,
        :cols);
