-- Forgets the last shutdown of the host's guests: another one begins.
-- Parameters: none
-- Columns: none
DELETE FROM guest_shutdowns;
