-- A VM's name is free again as soon as its deletion is promised, not when the last of it is gone.
DROP INDEX vms_living_name;
CREATE UNIQUE INDEX vms_living_name ON vms (project_id, name)
    WHERE deleted_at = 0 AND state <> 'deleting';
