-- Draws the next vsock CID of a host; no row when the host is unknown or out of CIDs.
-- Parameters: :host_id
-- Columns: the CID
UPDATE hosts
SET next_cid = next_cid + 1
WHERE id = :host_id AND next_cid < 4294967295
RETURNING next_cid - 1;
