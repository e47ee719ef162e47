-- A new VM. An empty image_id means none.
-- Parameters: :id, :project_id, :host_id, :name, :spec, :state, :state_reason, :acceleration,
--    :acceleration_reason, :image_id, :generation, :defined_generation, :running_generation,
--    :vsock_cid, :created_at, :updated_at, :started_at, :deleted_at, :first_output_at, :kernel_at,
--    :userland_at, :ready_at, :rebooted_at, :last_attached_at, :boot_status,
--    :set_id, :set_name, :set_machine, :set_member, :set_step, :reimaged,
--    :owner_token, :cpus, :memory_mib, :disk_bytes, :template_id, :template_key, :merges
-- Columns: none
INSERT INTO vms (id, project_id, host_id, name, spec, state, state_reason, acceleration,
                 acceleration_reason, image_id, generation, defined_generation,
                 running_generation, vsock_cid, created_at, updated_at, started_at, deleted_at,
                 first_output_at, kernel_at, userland_at, ready_at, rebooted_at, last_attached_at,
                 boot_status, set_id, set_name, set_machine, set_member, set_step, reimaged,
                 owner_token, cpus, memory_mib, disk_bytes, template_id, template_key, merges)
VALUES (:id, :project_id, :host_id, :name, :spec, :state, :state_reason, :acceleration,
        :acceleration_reason, NULLIF(:image_id, ''), :generation, :defined_generation,
        :running_generation, :vsock_cid, :created_at, :updated_at, :started_at, :deleted_at,
        :first_output_at, :kernel_at, :userland_at, :ready_at, :rebooted_at, :last_attached_at,
        :boot_status, :set_id, :set_name, :set_machine, :set_member, :set_step, :reimaged,
        :owner_token, :cpus, :memory_mib, :disk_bytes, :template_id, :template_key, :merges);
