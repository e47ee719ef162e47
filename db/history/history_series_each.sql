-- Every series there is.
-- Parameters: none
-- Columns: name
SELECT name FROM series;
