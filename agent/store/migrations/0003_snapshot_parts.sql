-- A snapshot of tens of megabytes in one value holds up whoever copies it: it is kept in parts.
-- The one that there may be is of an earlier version, and made again.
DELETE FROM snapshot;
ALTER TABLE snapshot DROP COLUMN payload;

-- The parts of the snapshot, from 0.
CREATE TABLE snapshot_part (number INTEGER NOT NULL, payload BLOB NOT NULL);
