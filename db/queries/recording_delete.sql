-- Removes a finished recording.
-- Parameters: :id
-- Columns: none
DELETE FROM recordings
WHERE id = :id AND state <> 'recording';
