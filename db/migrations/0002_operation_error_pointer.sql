-- The member of the definition that was at fault when an operation failed: a JSON pointer, or ''.
ALTER TABLE operations ADD COLUMN error_pointer TEXT NOT NULL DEFAULT '';
