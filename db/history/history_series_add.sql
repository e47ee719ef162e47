-- Makes a series known.
-- Parameters: :name
-- Columns: none
INSERT OR IGNORE INTO series (name) VALUES (:name);
