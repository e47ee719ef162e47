-- A new operation. Empty vm_id, image_id and set_id mean none.
-- Parameters: :id, :project_id, :host_id, :vm_id, :image_id, :kind, :state, :params, :actor,
--    :request_id, :error_code, :error_detail, :error_remedy, :error_pointer, :created_at,
--    :started_at, :finished_at, :done_bytes, :total_bytes, :set_id
-- Columns: none
INSERT INTO operations (id, project_id, host_id, vm_id, image_id, kind, state, params, actor,
                        request_id, error_code, error_detail, error_remedy, error_pointer,
                        created_at, started_at, finished_at, done_bytes, total_bytes, set_id)
VALUES (:id, :project_id, :host_id, NULLIF(:vm_id, ''), NULLIF(:image_id, ''), :kind, :state,
        :params, :actor, :request_id, :error_code, :error_detail, :error_remedy, :error_pointer,
        :created_at, :started_at, :finished_at, :done_bytes, :total_bytes,
        NULLIF(:set_id, ''));
