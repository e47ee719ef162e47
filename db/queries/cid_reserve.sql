-- No CID below this one is drawn any more.
-- Parameters: :host_id, :above
-- Columns: none
UPDATE hosts
SET next_cid = :above
WHERE id = :host_id AND next_cid < :above;
