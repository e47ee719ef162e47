-- VMs that begin with another one's saved memory and disks.

-- Whose memory and disks it began with; '': it booted. They are kept as long as anybody names them.
ALTER TABLE vms ADD COLUMN template_id TEXT NOT NULL DEFAULT '';
-- Not '': this VM is a pool's template, and what its memory was saved under (QEMU, processor, …).
ALTER TABLE vms ADD COLUMN template_key TEXT NOT NULL DEFAULT '';
