-- Everything of a living VM that can change; no row changes when it is gone.
-- Parameters: :host_id, :name, :spec, :state, :state_reason, :acceleration, :acceleration_reason,
--    :image_id, :generation, :defined_generation, :running_generation, :vsock_cid, :updated_at,
--    :started_at, :deleted_at, :first_output_at, :kernel_at, :userland_at, :ready_at, :rebooted_at,
--    :last_attached_at, :boot_status, :set_step, :reimaged,
--    :owner_token, :cpus, :memory_mib, :disk_bytes, :template_id, :template_key, :merges, :id
-- Columns: none
UPDATE vms
SET host_id = :host_id, name = :name, spec = :spec, state = :state,
    state_reason = :state_reason, acceleration = :acceleration,
    acceleration_reason = :acceleration_reason, image_id = NULLIF(:image_id, ''),
    generation = :generation, defined_generation = :defined_generation,
    running_generation = :running_generation, vsock_cid = :vsock_cid,
    updated_at = :updated_at, started_at = :started_at, deleted_at = :deleted_at,
    first_output_at = :first_output_at, kernel_at = :kernel_at, userland_at = :userland_at,
    ready_at = :ready_at, rebooted_at = :rebooted_at, last_attached_at = :last_attached_at,
    boot_status = :boot_status, set_step = :set_step, reimaged = :reimaged,
    owner_token = :owner_token, cpus = :cpus,
    memory_mib = :memory_mib, disk_bytes = :disk_bytes,
    template_id = :template_id, template_key = :template_key, merges = :merges
WHERE id = :id AND deleted_at = 0;
