-- The event log is the truth; everything else can be made from it again.
-- Times are UTC.
CREATE TABLE log (
    seq BIGINT NOT NULL,
    kind VARCHAR NOT NULL,
    source VARCHAR NOT NULL,
    id VARCHAR NOT NULL,
    event_time TIMESTAMP NOT NULL,
    received_at TIMESTAMP NOT NULL,
    body VARCHAR NOT NULL,
    -- 128 bits of (source, id): an index over the texts themselves would be several times larger.
    key UUID PRIMARY KEY
);

CREATE TABLE snapshot (seq BIGINT NOT NULL, stamp VARCHAR NOT NULL, payload BLOB NOT NULL);

-- One row per model that ran: benchmarks as they are, executions run by run.
CREATE VIEW measurements AS
WITH runs AS (
    SELECT seq, source, id, event_time, 'benchmark' AS kind, NULL AS strategy, 1 AS models,
           body::JSON AS run
    FROM log WHERE kind = 'benchmark'
    UNION ALL
    SELECT seq, source, id, event_time, 'execution', body::JSON ->> '$.strategy',
           json_array_length(body::JSON, '$.runs'),
           unnest((body::JSON -> '$.runs')::JSON[])
    FROM log WHERE kind = 'execution'
)
SELECT
    seq, source, id, event_time, kind, strategy, models,
    run ->> '$.model.name' AS model,
    run ->> '$.model.family' AS family,
    run ->> '$.model.architecture' AS architecture,
    (run ->> '$.model.parameters_m')::DOUBLE AS parameters_m,
    (run ->> '$.model.gmacs')::DOUBLE AS gmacs,
    (run ->> '$.model.activations_m')::DOUBLE AS activations_m,
    run ->> '$.hardware.name' AS hardware,
    run ->> '$.hardware.class' AS hardware_class,
    (run ->> '$.hardware.count')::BIGINT AS device_count,
    run ->> '$.setup.task' AS task,
    (run ->> '$.setup.batch_size')::BIGINT AS batch_size,
    run ->> '$.setup.precision' AS "precision",
    run ->> '$.setup.runtime' AS runtime,
    run ->> '$.setup.runtime_options' AS runtime_options,
    (run ->> '$.setup.input_size')::DOUBLE AS input_size,
    (run ->> '$.setup.sequence_in')::BIGINT AS sequence_in,
    (run ->> '$.setup.sequence_out')::BIGINT AS sequence_out,
    run ->> '$.setup.parallelism' AS parallelism,
    (run ->> '$.setup.concurrency')::BIGINT AS concurrency,
    (run ->> '$.metrics.throughput_per_s')::DOUBLE AS throughput_per_s,
    run ->> '$.metrics.throughput_unit' AS throughput_unit,
    (run ->> '$.metrics.latency_ms')::DOUBLE AS latency_ms,
    run ->> '$.metrics.latency_kind' AS latency_kind,
    (run ->> '$.metrics.memory_mb')::DOUBLE AS memory_mb,
    (run ->> '$.metrics.power_w')::DOUBLE AS power_w,
    coalesce(run ->> '$.outcome', 'ok') AS outcome,
    run ->> '$.prediction_id' AS prediction_id
FROM runs;

-- One row per predicted metric of each answered predict request.
CREATE VIEW predictions AS
WITH answered AS (
    SELECT seq, event_time, unnest((body::JSON -> '$.reply.predictions')::JSON[]) AS prediction
    FROM log WHERE kind = 'answer' AND body::JSON ->> '$.kind' = 'predict'
), metrics AS (
    SELECT seq, event_time, prediction, unnest(json_keys(prediction, '$.metrics')) AS metric
    FROM answered
)
SELECT
    seq, event_time,
    prediction ->> '$.prediction_id' AS prediction_id,
    prediction ->> '$.model' AS model,
    prediction ->> '$.hardware' AS hardware,
    metric,
    (prediction ->> ('$.metrics.' || metric || '.value'))::DOUBLE AS value,
    (prediction ->> ('$.metrics.' || metric || '.low'))::DOUBLE AS low,
    (prediction ->> ('$.metrics.' || metric || '.high'))::DOUBLE AS high,
    (prediction ->> ('$.metrics.' || metric || '.confidence'))::DOUBLE AS confidence
FROM metrics;

CREATE VIEW decisions AS
SELECT
    seq, event_time, id AS decision_id, body::JSON ->> '$.kind' AS kind,
    body::JSON -> '$.request' AS request, body::JSON -> '$.reply' AS reply
FROM log
WHERE kind = 'answer' AND body::JSON ->> '$.kind' IN ('recommend', 'place', 'strategy');

CREATE VIEW events_per_day AS
SELECT event_time::DATE AS day, kind, source, count(*) AS events
FROM log GROUP BY ALL ORDER BY day, kind, source;
