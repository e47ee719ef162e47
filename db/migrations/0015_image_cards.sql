-- What is said of an image beside its bytes, and bytes that were found to have rotted.
ALTER TABLE images ADD COLUMN card TEXT NOT NULL DEFAULT ''; -- title, notes, ... as JSON, or ''
ALTER TABLE images ADD COLUMN screenshot TEXT NOT NULL DEFAULT ''; -- PNG in base64, or ''
ALTER TABLE images ADD COLUMN revision INTEGER NOT NULL DEFAULT 1; -- counts changes of the row
ALTER TABLE image_files ADD COLUMN damaged_at INTEGER NOT NULL DEFAULT 0; -- 0: whole, as far as known
