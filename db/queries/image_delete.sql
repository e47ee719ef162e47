-- Removes an image and its files. Fails while a VM refers to it; see image_forget.
-- Parameters: :id
-- Columns: none
DELETE FROM images
WHERE id = :id;
