-- When the VM of ended leases went, into their records.
-- Parameters: :vm_id, :at
-- Columns: none
UPDATE leases
SET record = json_set(record, '$.gone_at', :at)
WHERE vm_id = :vm_id AND state = 'ended';
