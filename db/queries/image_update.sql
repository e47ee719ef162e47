-- Everything of an image that can change; no row changes when it is gone.
-- Parameters: :name, :format, :cmdline, :description, :state, :state_reason, :source,
--    :updated_at, :id
-- Columns: none
UPDATE images
SET name = :name, format = :format, cmdline = :cmdline, description = :description,
    state = :state, state_reason = :state_reason, source = :source,
    updated_at = :updated_at
WHERE id = :id;
