-- Every image, in order of creation.
-- Parameters: none
-- Columns: as struct image_row
SELECT seq, id, project_id, host_id, name, kind, format, cmdline, description, state,
       state_reason, source, card, screenshot, revision, created_at, updated_at
FROM images
ORDER BY seq;
