-- Binds a CID just drawn to a VM.
-- Parameters: :host_id, :cid, :vm_id, :allocated_at
-- Columns: none
INSERT INTO cids (host_id, cid, vm_id, allocated_at)
VALUES (:host_id, :cid, :vm_id, :allocated_at);
