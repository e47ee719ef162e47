-- A webhook and its deliveries.
-- Parameters: :id
-- Columns: none
DELETE FROM webhooks WHERE id = :id;
