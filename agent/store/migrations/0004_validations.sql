-- What the log's measurements said of the predictions that they answer. Made from the log, and
-- can be made again: `validated` says up to which record that was done.
CREATE TABLE validations (
    seq BIGINT NOT NULL,
    time TIMESTAMP NOT NULL,
    prediction_id VARCHAR NOT NULL,
    paired_by VARCHAR NOT NULL,
    metric VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    hardware VARCHAR NOT NULL,
    batch_size BIGINT,
    precision VARCHAR,
    runtime VARCHAR,
    strategy VARCHAR,
    predicted DOUBLE NOT NULL,
    low DOUBLE NOT NULL,
    high DOUBLE NOT NULL,
    measured DOUBLE NOT NULL,
    relative_error DOUBLE NOT NULL,
    within_interval BOOLEAN NOT NULL,
    event_id VARCHAR NOT NULL,
    event_source VARCHAR NOT NULL
);

CREATE TABLE validated (through_seq BIGINT NOT NULL);
INSERT INTO validated VALUES (0);
