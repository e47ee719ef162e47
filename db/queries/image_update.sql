-- Everything of an image that can change; no row changes when it is gone.
-- Parameters: :name, :format, :cmdline, :description, :state, :state_reason, :source,
--    :card, :screenshot, :revision, :updated_at, :id
-- Columns: none
UPDATE images
SET name = :name, format = :format, cmdline = :cmdline, description = :description,
    state = :state, state_reason = :state_reason, source = :source,
    card = :card, screenshot = :screenshot, revision = :revision,
    updated_at = :updated_at
WHERE id = :id;
