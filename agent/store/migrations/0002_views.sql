-- What a person asks the store. docs/store.md describes the columns.

-- One row per measured model run: benchmarks as they are, executions run by run.
CREATE VIEW measurements AS
WITH executed AS (
    SELECT seq, kind, source, id, event_time, received_at,
        -- A benchmark is read as an execution of one run.
        from_json(CASE kind WHEN 'benchmark' THEN '{"runs":[' || body || ']}' ELSE body END, '{
            "runs": [{
                "model": {"name": "VARCHAR", "family": "VARCHAR", "architecture": "VARCHAR",
                    "parameters_m": "DOUBLE", "gmacs": "DOUBLE", "activations_m": "DOUBLE"},
                "hardware": {"name": "VARCHAR", "class": "VARCHAR", "count": "BIGINT"},
                "setup": {"task": "VARCHAR", "batch_size": "BIGINT", "precision": "VARCHAR",
                    "runtime": "VARCHAR", "runtime_options": "VARCHAR", "input_size": "DOUBLE",
                    "sequence_in": "BIGINT", "sequence_out": "BIGINT", "parallelism": "VARCHAR",
                    "concurrency": "BIGINT"},
                "metrics": {"throughput_per_s": "DOUBLE", "throughput_unit": "VARCHAR",
                    "latency_ms": "DOUBLE", "latency_kind": "VARCHAR", "latency_p95_ms": "DOUBLE",
                    "time_to_first_token_ms": "DOUBLE", "inter_token_latency_ms": "DOUBLE",
                    "memory_mb": "DOUBLE", "power_w": "DOUBLE", "energy_j_per_item": "DOUBLE"},
                "outcome": "VARCHAR", "prediction_id": "VARCHAR"}],
            "strategy": "VARCHAR", "waves": [["VARCHAR"]], "device": "VARCHAR",
            "wall_time_ms": "DOUBLE", "decision_id": "VARCHAR"}') AS execution
    FROM log WHERE kind IN ('benchmark', 'execution')
), all_runs AS (
    SELECT seq, kind, source, id, event_time, received_at,
        generate_subscripts(execution.runs, 1) AS run_number, len(execution.runs) AS runs,
        unnest(execution.runs) AS run,
        execution.strategy AS strategy, execution.waves AS waves, execution.device AS device,
        execution.wall_time_ms AS wall_time_ms, execution.decision_id AS decision_id
    FROM executed
), with_waves AS (
    SELECT *, list_filter(
        generate_series(1, len(coalesce(waves, []))),
        lambda number: list_contains(waves[number], run.model.name)
    ) AS its_waves
    FROM all_runs
)
SELECT
    seq, kind, source, id, event_time, received_at, run_number, runs,
    run.model.name AS model,
    run.model.family AS family,
    run.model.architecture AS architecture,
    run.model.parameters_m AS parameters_m,
    run.model.gmacs AS gmacs,
    run.model.activations_m AS activations_m,
    run.hardware.name AS hardware,
    run.hardware.class AS hardware_class,
    run.hardware.count AS device_count,
    run.setup.task AS task,
    run.setup.batch_size AS batch_size,
    run.setup.precision AS "precision",
    run.setup.runtime AS runtime,
    run.setup.runtime_options AS runtime_options,
    run.setup.input_size AS input_size,
    run.setup.sequence_in AS sequence_in,
    run.setup.sequence_out AS sequence_out,
    run.setup.parallelism AS parallelism,
    run.setup.concurrency AS concurrency,
    run.metrics.throughput_per_s AS throughput_per_s,
    run.metrics.throughput_unit AS throughput_unit,
    run.metrics.latency_ms AS latency_ms,
    run.metrics.latency_kind AS latency_kind,
    run.metrics.latency_p95_ms AS latency_p95_ms,
    run.metrics.time_to_first_token_ms AS time_to_first_token_ms,
    run.metrics.inter_token_latency_ms AS inter_token_latency_ms,
    run.metrics.memory_mb AS memory_mb,
    run.metrics.power_w AS power_w,
    run.metrics.energy_j_per_item AS energy_j_per_item,
    coalesce(run.outcome, 'ok') AS outcome,
    run.prediction_id AS prediction_id,
    strategy,
    -- A model that ran in two waves is in no single one.
    CASE WHEN len(its_waves) = 1 THEN its_waves[1] END AS wave,
    CASE
        WHEN len(its_waves) = 1 THEN len(waves[its_waves[1]])
        WHEN len(its_waves) > 1 THEN NULL
        WHEN runs = 1 OR strategy = 'sequential' THEN 1
        WHEN strategy = 'parallel' THEN runs
    END AS wave_size,
    device, wall_time_ms, decision_id
FROM with_waves;

-- One row per predicted metric: wherever an answer holds a prediction's id beside metrics.
CREATE VIEW predictions AS
WITH answers AS (
    SELECT seq, event_time, body::JSON AS body FROM log WHERE kind = 'answer'
), rows_of_answers AS (
    SELECT seq, event_time, body ->> '$.kind' AS asked, body ->> '$.reply.model' AS model,
        unnest(list_concat(
            (body -> '$.reply.predictions')::JSON[],
            (body -> '$.reply.rows')::JSON[],
            (body -> '$.reply.placed')::JSON[],
            [body -> '$.reply.recommended'],
            (body -> '$.reply.runners_up')::JSON[]
        )) AS prediction
    FROM answers
), metrics AS (
    SELECT *, unnest(json_keys(prediction, '$.metrics')) AS metric FROM rows_of_answers
), estimates AS (
    SELECT *, from_json(
        json_extract(prediction, '$.metrics.' || metric),
        '{"value": "DOUBLE", "low": "DOUBLE", "high": "DOUBLE", "confidence": "DOUBLE",
          "unit": "VARCHAR"}'
    ) AS estimate
    FROM metrics
)
SELECT
    seq, event_time, asked,
    prediction ->> '$.prediction_id' AS prediction_id,
    coalesce(prediction ->> '$.model', model) AS model,
    coalesce(prediction ->> '$.hardware', prediction ->> '$.device') AS hardware,
    metric,
    estimate.value AS value,
    estimate.low AS low,
    estimate.high AS high,
    estimate.confidence AS confidence,
    estimate.unit AS unit
FROM estimates;

-- One row per decision: recommend, place or strategy.
CREATE VIEW decisions AS
SELECT
    seq, event_time,
    coalesce(body ->> '$.reply.decision_id', id) AS decision_id,
    body ->> '$.kind' AS kind,
    coalesce(body ->> '$.reply.recommended.hardware', body ->> '$.reply.chosen.strategy') AS chosen,
    (body ->> '$.reply.reasons')::VARCHAR[] AS reasons,
    body -> '$.request' AS request,
    body -> '$.reply' AS reply
FROM (SELECT seq, event_time, id, body::JSON AS body FROM log WHERE kind = 'answer')
WHERE body ->> '$.kind' IN ('recommend', 'place', 'strategy');

CREATE VIEW events_per_day AS
SELECT event_time::DATE AS day, kind, source, count(*) AS events
FROM log GROUP BY ALL ORDER BY day, kind, source;
