-- How far a VM's current or last boot came, and when somebody last used one of its consoles.
ALTER TABLE vms ADD COLUMN first_output_at INTEGER NOT NULL DEFAULT 0 CHECK (first_output_at >= 0);
ALTER TABLE vms ADD COLUMN kernel_at INTEGER NOT NULL DEFAULT 0 CHECK (kernel_at >= 0);
ALTER TABLE vms ADD COLUMN userland_at INTEGER NOT NULL DEFAULT 0 CHECK (userland_at >= 0);
ALTER TABLE vms ADD COLUMN ready_at INTEGER NOT NULL DEFAULT 0 CHECK (ready_at >= 0);
-- The guest's last reboot since started_at.
ALTER TABLE vms ADD COLUMN rebooted_at INTEGER NOT NULL DEFAULT 0 CHECK (rebooted_at >= 0);
ALTER TABLE vms ADD COLUMN last_attached_at INTEGER NOT NULL DEFAULT 0 CHECK (last_attached_at >= 0);
-- What the guest last said about itself (STATUS=), or ''.
ALTER TABLE vms ADD COLUMN boot_status TEXT NOT NULL DEFAULT '';
