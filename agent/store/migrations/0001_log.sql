-- The event log is the truth; everything else can be made from it again. Times are in UTC.
CREATE TABLE log (
    seq BIGINT NOT NULL,
    kind VARCHAR NOT NULL,
    source VARCHAR NOT NULL,
    id VARCHAR NOT NULL,
    event_time TIMESTAMP NOT NULL,
    received_at TIMESTAMP NOT NULL,
    body VARCHAR NOT NULL,
    -- A 128-bit digest of (source, id), in halves. Neither a key nor an index: the writer knows
    -- the digests by heart, and an index would have to be written again at every checkpoint.
    digest_high UBIGINT NOT NULL,
    digest_low UBIGINT NOT NULL
);

-- At most one row: learned state as of `seq`.
CREATE TABLE snapshot (seq BIGINT NOT NULL, stamp VARCHAR NOT NULL, payload BLOB NOT NULL);
