-- A VM gives back what CIDs it holds. They are not handed out again.
-- Parameters: :now, :vm_id
-- Columns: none
UPDATE cids
SET released_at = :now
WHERE vm_id = :vm_id AND released_at = 0;
