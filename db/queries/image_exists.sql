-- Is there such an image? Asked after a conflict, to say which one it was.
-- Parameters: :id
-- Columns: 1
SELECT 1
FROM images
WHERE id = :id;
