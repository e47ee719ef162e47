-- Whose quota the VMs of a set count against; '' of older sets: the project's alone.
ALTER TABLE sets ADD COLUMN owner_token TEXT NOT NULL DEFAULT '';
