-- Images that are fetched, converted or copied: where their bytes come from, and how far it is.
ALTER TABLE images ADD COLUMN source TEXT NOT NULL DEFAULT '';
ALTER TABLE operations ADD COLUMN done_bytes INTEGER NOT NULL DEFAULT 0 CHECK (done_bytes >= 0);
ALTER TABLE operations ADD COLUMN total_bytes INTEGER NOT NULL DEFAULT 0 CHECK (total_bytes >= 0);
