-- The pool goes; its members' rows go with their VMs.
-- Parameters: :id
-- Columns: none
DELETE FROM pools WHERE id = :id;
