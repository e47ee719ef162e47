-- Forgets leases that ended long ago.
-- Parameters: :ended_before
-- Columns: none
DELETE FROM leases WHERE state = 'ended' AND ended_at < :ended_before;
