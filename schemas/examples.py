"""One example of every message, as the contract shows it.

They are built from the types themselves, so an example can't say what the agent would refuse.
"""

from __future__ import annotations

from datetime import UTC, datetime

from schemas.base import Message
from schemas.capacity import Capacity, CapacityReply, MemoryParts
from schemas.errors import ErrorBody, ErrorDetail, ErrorReply
from schemas.events import BENCHMARK_TYPE, EXECUTION_TYPE, BenchmarkEvent, ExecutionEvent
from schemas.exploration import (
    ActiveLearningReply,
    ActiveLearningRequest,
    BatchReply,
    BatchRequest,
    DecisionAtHand,
    IntegrateReply,
    IntegrateRequest,
    MeasuredGain,
    WantedBenchmark,
)
from schemas.explore import (
    ExplorationBudget,
    ExplorationJob,
    ExploreReply,
    ExploreRequest,
    Wanted,
)
from schemas.jobs import (
    CancelJob,
    HeldModel,
    JobModel,
    JobResult,
    ModelMeasured,
    RunJob,
    Spread,
    WorkerState,
)
from schemas.measurement import (
    Benchmark,
    Execution,
    HardwareSpec,
    Metrics,
    ModelRun,
    ModelSpec,
    Setup,
)
from schemas.published import AgentState, Alert, DeadLetter, Decision, Validation
from schemas.quarantine import Quarantined, QuarantineReply, ReleaseReply
from schemas.refinement import LogRule, Refinement, Scope, Version
from schemas.replies import (
    Basis,
    BestBrowserReply,
    BrowserChoice,
    BrowsersReply,
    ComparedCell,
    CompareReply,
    CompareStrategiesReply,
    DeviceLoad,
    Estimate,
    Estimates,
    ExcludedHardware,
    ExecuteReply,
    MetricStatus,
    ModelsReply,
    PlacedModel,
    PlaceReply,
    Prediction,
    PredictReply,
    RankedHardware,
    RecommendReply,
    ScorePart,
    Slot,
    Standing,
    StatusReply,
    StrategyOutcome,
    StrategyReply,
    Unplaced,
    UpdateReply,
)
from schemas.requests import (
    BestBrowserRequest,
    BrowsersRequest,
    Candidate,
    CapacityRequest,
    CompareRequest,
    CompareStrategiesRequest,
    Device,
    ExecuteRequest,
    HardwareLimits,
    HardwareOption,
    ModelsRequest,
    PlaceRequest,
    PredictRequest,
    QuarantineRequest,
    RecommendRequest,
    ReleaseRequest,
    StatusRequest,
    StrategyRequest,
    UpdateRequest,
    ValidationRequest,
    Weights,
    WorkItem,
)
from schemas.validation import Trend, ValidatedGroup, ValidationReply

WHEN = datetime(2026, 11, 2, 9, 30, tzinfo=UTC)

_RESNET = ModelSpec(name="resnet50", architecture="resnet", parameters_m=25.6, gmacs=4.1)
_BERT = ModelSpec(name="bert-base")
_A100 = HardwareSpec(name="a100-80gb", hardware_class="gpu", count=1)
_SETUP = Setup(task="inference", batch_size=32, precision="fp16", runtime="onnxruntime-1.23")
_ESTIMATE = Estimate(
    value=2870.0,
    low=2540.0,
    high=3210.0,
    confidence=0.93,
    unit="images/s",
    basis=Basis(cell=3, model=41, hardware=520, setup=118, total=3500),
)
_LATENCY = Estimate(value=11.2, low=9.8, high=12.9, confidence=0.9, unit="batch_step")
_METRICS: Estimates = {"throughput_per_s": _ESTIMATE, "latency_ms": _LATENCY}

BENCHMARK = Benchmark(
    model=_RESNET,
    hardware=_A100,
    setup=_SETUP,
    metrics=Metrics(
        throughput_per_s=2910.0,
        throughput_unit="images/s",
        latency_ms=11.0,
        latency_kind="batch_step",
        memory_mb=3120.0,
        power_w=265.0,
    ),
    outcome="ok",
)
_EXECUTION = Execution(
    runs=[
        ModelRun(model=_RESNET, hardware=_A100, metrics=Metrics(latency_ms=12.4)),
        ModelRun(model=_BERT, hardware=_A100, metrics=Metrics(latency_ms=8.1)),
    ],
    strategy="sequential",
    waves=[["resnet50"], ["bert-base"]],
    device="rack1-gpu0",
    wall_time_ms=20.9,
    decision_id="d-7f3a",
)
_STRATEGY = StrategyOutcome(
    strategy="sequential",
    waves=[["resnet50"], ["bert-base"]],
    timeline=[
        Slot(model="resnet50", wave=0, start_ms=0.0, end_ms=11.2),
        Slot(model="bert-base", wave=1, start_ms=11.2, end_ms=19.5),
    ],
    total_latency_ms=Estimate(value=19.5, low=17.0, high=22.4, confidence=0.86),
    mean_latency_ms=Estimate(value=15.4, low=13.6, high=17.5, confidence=0.88),
    model_latency_ms={"resnet50": _LATENCY},
    throughput_per_s=_ESTIMATE,
    feasible=True,
)

_REFINEMENT = Refinement(
    version=Version(
        number=3,
        rules=[
            LogRule(scope=Scope(metric="throughput_per_s", hardware="a100-80gb"), before_seq=5_800)
        ],
    ),
    method="window",
    scope=Scope(metric="throughput_per_s", hardware="a100-80gb"),
    reason="the median error of throughput_per_s on a100-80gb is 19.0%, usually 3.1%",
    rows=40,
    median_ape_before=0.19,
    median_ape_after=0.034,
    kept=True,
)

_RESULT = JobResult(
    job_id="j-20",
    worker_id="rack1-native",
    outcome="ok",
    strategy="parallel",
    waves=[["resnet50"]],
    models=[
        ModelMeasured(
            model="resnet50",
            batch_size=8,
            runs=1,
            requested_backend="cpu",
            actual_backend="cpu",
            load_ms=210.0,
            first_run_ms=95.0,
            start_ms=0.1,
            latency_ms=Spread(median=61.0, low=59.0, high=70.0, count=5),
            memory_mb=180.0,
            output_checked=True,
        )
    ],
    wall_time_ms=Spread(median=61.2, low=59.3, high=70.4, count=5),
    peak_memory_mb=180.0,
    event_id="j-20",
    decision_id="d-7f41",
)

_QUARANTINED = Quarantined(
    source="lab/rack1",
    id="run-2026-11-02-0007",
    time=WHEN,
    model="resnet50",
    hardware="nvidia-t4",
    reason="throughput_per_s of 60000 needs 492 TFLOP/s, nvidia-t4 has at most 65",
)

_WANTED = WantedBenchmark(
    id="d-7f41/0",
    model=_RESNET,
    hardware=_A100,
    setup=_SETUP,
    priority=1,
    expected_gain=0.014,
    expected_gains={"throughput_per_s": 0.014},
    cost_s=40.0,
    reasons=["removes 1.40% of the uncertainty over the cells that matter"],
)

EXAMPLES: dict[str, Message] = {
    "benchmark_event": BenchmarkEvent(
        specversion="1.0",
        id="run-2026-11-02-0001",
        source="lab/rack1",
        type=BENCHMARK_TYPE,
        time=WHEN,
        data=BENCHMARK,
    ),
    "execution_event": ExecutionEvent(
        specversion="1.0",
        id="batch-118",
        source="serving/eu-1",
        type=EXECUTION_TYPE,
        time=WHEN,
        data=_EXECUTION,
    ),
    "predict_request": PredictRequest(
        candidates=[Candidate(model=_RESNET, hardware=_A100, setup=_SETUP)]
    ),
    "predict_reply": PredictReply(
        predictions=[
            Prediction(
                prediction_id="p-19c2",
                model="resnet50",
                hardware="a100-80gb",
                metrics=_METRICS,
                fits=0.998,
                holds_for_s=60.0,
            )
        ]
    ),
    "compare_request": CompareRequest(model=_RESNET, hardware=[_A100], batch_sizes=[1, 8, 32]),
    "compare_reply": CompareReply(
        model="resnet50",
        metric="throughput_per_s",
        rows=[
            ComparedCell(
                rank=1,
                hardware="a100-80gb",
                batch_size=32,
                prediction_id="p-19c3",
                metrics=_METRICS,
            )
        ],
        not_comparable=["tpu-v4"],
    ),
    "recommend_request": RecommendRequest(
        model=_RESNET,
        setup=_SETUP,
        hardware=[
            HardwareOption(name="a100-80gb", cost_per_hour=2.1),
            HardwareOption(name="h100", cost_per_hour=3.9),
        ],
        weights=Weights(performance=0.6, cost=0.4),
        limits=HardwareLimits(power_w=400.0),
    ),
    "recommend_reply": RecommendReply(
        decision_id="d-7f39",
        model="resnet50",
        recommended=RankedHardware(
            hardware="a100-80gb",
            score=1.0,
            parts=[ScorePart(criterion="performance", value=2870.0, score=1.0, weight=1.0)],
            metrics=_METRICS,
            prediction_id="p-19c4",
            reasons=["fastest of what meets the limits"],
        ),
        runners_up=[],
        excluded=[
            ExcludedHardware(
                hardware="h100",
                limit="power_w",
                value=610.0,
                allowed=400.0,
                reason="would draw 610 W; at most 400 W",
            )
        ],
        reasons=["a100-80gb has the best score"],
    ),
    "place_request": PlaceRequest(
        models=[WorkItem(model=_RESNET), WorkItem(model=_BERT, latency_limit_ms=20.0)],
        devices=[Device(name="rack1-gpu0", hardware=_A100, memory_mb=81_920.0)],
    ),
    "place_reply": PlaceReply(
        decision_id="d-7f40",
        goal="throughput",
        placed=[
            PlacedModel(
                model="resnet50", device="rack1-gpu0", metrics=_METRICS, prediction_id="p-19c5"
            )
        ],
        unplaced=[
            Unplaced(
                model="bert-base",
                limit="latency_ms",
                reason="would take 26 ms; at most 20 ms",
                would_fit_if="it had a device of its own",
            )
        ],
        devices=[
            DeviceLoad(
                device="rack1-gpu0",
                hardware="a100-80gb",
                models=["resnet50"],
                memory_mb=3120.0,
                memory_capacity_mb=81_920.0,
                share=1.0,
            )
        ],
        objective=2870.0,
        bound=2870.0,
        optimal=True,
        reasons=["bert-base has no room within its limit"],
    ),
    "strategy_request": StrategyRequest(
        models=[WorkItem(model=_RESNET), WorkItem(model=_BERT)], hardware=_A100, goal="latency"
    ),
    "strategy_reply": StrategyReply(
        decision_id="d-7f41",
        goal="latency",
        chosen=_STRATEGY,
        alternatives=[],
        reasons=["sequential finishes first"],
    ),
    "execute_request": ExecuteRequest(
        models=[WorkItem(model="resnet50"), WorkItem(model="bert-base")], goal="latency"
    ),
    "execute_reply": ExecuteReply(
        decision_id="d-7f41", worker="rack1-native", predicted=_STRATEGY, result=_RESULT
    ),
    "compare_strategies_request": CompareStrategiesRequest(
        models=[WorkItem(model="resnet50"), WorkItem(model="bert-base")], goal="latency"
    ),
    "compare_strategies_reply": CompareStrategiesReply(
        decision_id="d-7f41",
        goal="latency",
        recommended="sequential",
        best="sequential",
        regret=0.0,
        executions=[
            ExecuteReply(
                decision_id="d-7f41", worker="rack1-native", predicted=_STRATEGY, result=_RESULT
            )
        ],
    ),
    "best_browser_request": BestBrowserRequest(model="minilm-mean", goal="latency"),
    "best_browser_reply": BestBrowserReply(
        decision_id="d-7f41",
        model="minilm-mean",
        goal="latency",
        chosen=BrowserChoice(
            worker="rack1.chromium-156.wasm.3c0c",
            browser="chromium",
            version="156.0.8078.79",
            backend="wasm",
            hardware="linux-x86-64-8core-cpu",
            tabs=4,
            measured=12,
            estimate=_LATENCY,
            prediction_id="d-7f41/0",
        ),
        others=[],
        decided_by="measurements",
        reasons=["chromium on wasm: 12 measurements"],
    ),
    "browsers_request": BrowsersRequest(),
    "browsers_reply": BrowsersReply(workers=[]),
    "status_request": StatusRequest(reply_to="replies/me", correlation_id="1"),
    "capacity_request": CapacityRequest(
        model=ModelSpec(name="llama-3-8b", parameters_m=8030.0, kv_values_per_token=65_536.0),
        hardware=[HardwareSpec(name="nvidia-rtx-4090")],
        setup=Setup(task="inference", batch_size=1, precision="fp16"),
        find="context",
        precisions=["fp16", "int4"],
        kv_precisions=["fp16", "2bit"],
    ),
    "capacity_reply": CapacityReply(
        model="llama-3-8b",
        find="context",
        probability=0.9,
        rows=[
            Capacity(
                hardware="nvidia-rtx-4090",
                precision="int4",
                kv_precision="fp16",
                largest=77_309,
                fits=0.9,
                fits_next=0.8999,
                memory_capacity_mb=24_000.0,
                parts=MemoryParts(weights_mb=4015.0, kv_cache_mb=10_133.0, activations_mb=0.0),
                limited_by="kv_cache",
                notes=["the model's activations_m is unknown: activations count as nothing here"],
            )
        ],
    ),
    "quarantine_request": QuarantineRequest(limit=10),
    "quarantine_reply": QuarantineReply(
        held=1, set_aside=3, released=2, measurements=[_QUARANTINED]
    ),
    "release_request": ReleaseRequest(source="lab/rack1", id="run-2026-11-02-0007"),
    "release_reply": ReleaseReply(released=[_QUARANTINED]),
    "status_reply": StatusReply(
        agent_id="rack1",
        version="0.1.0",
        started_at=WHEN,
        events_logged=3500,
        log_records=3577,
        observations_learned=6210,
        models_known=812,
        hardware_known=14,
        requests_answered=77,
        dead_letters=2,
        open_predictions=5,
        learned_mb=38.2,
        metrics={"latency_ms": MetricStatus(validated=2100, median_ape=0.08, coverage_90=0.9)},
    ),
    "models_request": ModelsRequest(),
    "models_reply": ModelsReply(
        version=3,
        observations_learned=6210,
        refinements=[_REFINEMENT],
        standings=[
            Standing(
                metric="throughput_per_s",
                hardware="a100-80gb",
                events=412,
                usual_ape=0.031,
                recent_ape=0.034,
                bias=0.004,
                trend="steady",
            )
        ],
    ),
    "update_request": UpdateRequest(method="rollback", version=2),
    "update_reply": UpdateReply(accepted="rollback"),
    "active_learning_request": ActiveLearningRequest(budget=10, metrics=["throughput_per_s"]),
    "active_learning_reply": ActiveLearningReply(
        wanted=[_WANTED],
        candidates=1500,
        cells=400,
        uncertainty=0.31,
        expected_uncertainty=0.29,
        measured=[MeasuredGain(id="d-7f40/0", expected_gain=0.012, measured_gain=0.009)],
    ),
    "validation_request": ValidationRequest(last_s=86_400.0, by="hardware"),
    "validation_reply": ValidationReply(
        validations=2100,
        groups=[
            ValidatedGroup(
                name="a100-80gb",
                metric="latency_ms",
                validations=2100,
                newest=WHEN,
                current_ape=0.04,
                recent_ape=0.051,
                median_ape=0.08,
                mean_ape=0.11,
                bias=-0.01,
                coverage_90=0.9,
                recent_coverage_90=0.92,
                trend=Trend(direction="falling", p_value=0.003),
            )
        ],
    ),
    "explore_request": ExploreRequest(),
    "explore_reply": ExploreReply(
        budget=ExplorationBudget(text="50", unit="runs", limit=50.0, spent=12.0, left=37.0),
        jobs={"running": 1, "done": 11, "failed": 0, "lost": 1, "gave_way": 0},
        sent=13,
        running=[
            ExplorationJob(
                job_id="explore-5f0c4e-13",
                worker="rack1-native",
                model="resnet50",
                hardware="a100-80gb",
                batch_size=16,
                state="running",
                expected_gain=0.08,
            )
        ],
        recent=[],
        wanted=[],
        elsewhere=[_WANTED],
        waiting={"laptop-native": "it runs on its battery"},
        unsaid={"rack1-native": ["whether it runs on a battery"]},
        expected_gain=0.61,
        gain=0.57,
        uncertainty=0.21,
    ),
    "wanted_event": Wanted(benchmarks=[_WANTED]),
    "batch_request": BatchRequest(
        size=20, limits={"a100-80gb": 5}, availability={"a100-80gb": 0.5}, budget_s=3600.0
    ),
    "batch_reply": BatchReply(
        wanted=[_WANTED],
        candidates=1500,
        cells=400,
        uncertainty=0.31,
        expected_uncertainty=0.29,
        runs=1,
        cost_s=40.0,
        per_hardware={"a100-80gb": 1},
    ),
    "integrate_request": IntegrateRequest(budget=5, metric="throughput_per_s"),
    "integrate_reply": IntegrateReply(
        wanted=[_WANTED.model_copy(update={"decision_gain": 0.021})],
        candidates=300,
        cells=400,
        uncertainty=0.31,
        expected_uncertainty=0.29,
        metric="throughput_per_s",
        decisions=[
            DecisionAtHand(
                model="resnet50",
                setup=_SETUP,
                recommended="a100-80gb",
                runner_up="l40s",
                chance_best=0.74,
                expected_regret=0.03,
            )
        ],
    ),
    "refinement_event": _REFINEMENT,
    "error_reply": ErrorReply(
        error=ErrorBody(
            code="invalid",
            message="this predict request is not valid: candidates: missing",
            details=[ErrorDetail(field="candidates", problem="missing", expected="a value")],
        )
    ),
    "agent_state": AgentState(
        agent_id="rack1",
        status="online",
        version="0.1.0",
        since=WHEN,
        events_logged=3500,
        observations_learned=6210,
    ),
    "decision_event": Decision(
        decision_id="d-7f41",
        kind="strategy",
        request={"models": [{"model": "resnet50"}], "hardware": "a100-80gb"},
        reply={"decision_id": "d-7f41", "goal": "latency", "chosen": None},
    ),
    "validation_event": Validation(
        seq=48_211,
        time=WHEN,
        prediction_id="p-19c2",
        paired_by="id",
        metric="throughput_per_s",
        model="resnet50",
        hardware="a100-80gb",
        batch_size=32,
        precision="fp16",
        predicted=2870.0,
        low=2540.0,
        high=3210.0,
        measured=2910.0,
        relative_error=-0.0137,
        absolute_percentage_error=0.0137,
        within_interval=True,
        event_id="run-2026-11-02-0001",
        event_source="lab/rack1",
    ),
    "alert_event": Alert(
        kind="drift",
        message="latency predictions for a100-80gb have become worse",
        scope={"metric": "latency_ms", "hardware": "a100-80gb"},
    ),
    "dead_letter": DeadLetter(
        topic="placewise/v1/events/benchmark/rack1",
        received_at=WHEN,
        error=ErrorBody(
            code="malformed",
            message="the event is not JSON: EOF while parsing a value",
            details=[ErrorDetail(field="payload", problem="{", expected="a JSON object")],
        ),
        payload_bytes=1,
        payload_start="{",
    ),
    "run_job": RunJob(
        job_id="j-20",
        models=[JobModel(model="resnet50", batch_size=8), JobModel(model="bert-base", runs=4)],
        strategy="parallel",
        waves=[["resnet50", "bert-base"]],
        decision_id="d-7f41",
        reply_to="replies/me",
    ),
    "cancel_job": CancelJob(job_id="j-20"),
    "job_result": _RESULT,
    "worker_state": WorkerState(
        worker_id="rack1-native",
        kind="native",
        status="online",
        since=WHEN,
        hardware=HardwareSpec(name="intel-xeon-2-cores", hardware_class="cpu"),
        memory_mb=16_000.0,
        cores=2,
        runtime="onnxruntime-1.32.0",
        backends=["cpu"],
        models=[HeldModel(model="resnet50", sha256="0" * 64, family="vision")],
    ),
}
"""By the message's name in the contract. Published events stand here without their envelope."""
