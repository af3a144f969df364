from __future__ import annotations

from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from agent.metrics import AgentMetrics
from schemas.codes import error_codes


def samples(metrics: AgentMetrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def value(metrics: AgentMetrics, name: str, **labels: str) -> float:
    return samples(metrics)[name, frozenset(labels.items())]


def test_everything_reads_zero_at_the_start() -> None:
    metrics = AgentMetrics("1.2.3")
    assert value(metrics, "placewise_events_total", type="execution", outcome="refused") == 0
    assert value(metrics, "placewise_dead_letters_total", code="malformed") == 0
    assert value(metrics, "placewise_bus_connection", state="disconnected") == 1
    (build,) = [labels for (name, labels) in samples(metrics) if name == "placewise_build_info"]
    assert ("version", "1.2.3") in build


def test_counts() -> None:
    metrics = AgentMetrics()
    metrics.event("benchmark", "accepted")
    metrics.dead_letter("too_large")
    metrics.request("predict", "ok", 0.003)
    metrics.request("place", "invalid", 0.001)
    metrics.commit(3, 2, 0.0015)
    metrics.learned(0.0001)
    metrics.loop_lag(0.5)
    metrics.queue_depth("writer", 7)
    metrics.open_predictions(4)
    metrics.validation("latency_ms", 0.12, within_interval=True)
    metrics.validation("latency_ms", 3.0, within_interval=False)
    metrics.connection("connected")
    expected = [
        ("placewise_events_total", {"type": "benchmark", "outcome": "accepted"}, 1),
        ("placewise_dead_letters_total", {"code": "too_large"}, 1),
        ("placewise_requests_total", {"kind": "predict", "outcome": "ok"}, 1),
        ("placewise_requests_total", {"kind": "place", "outcome": "invalid"}, 1),
        ("placewise_request_seconds_count", {"kind": "predict"}, 1),
        ("placewise_records_total", {"outcome": "new"}, 3),
        ("placewise_records_total", {"outcome": "duplicate"}, 2),
        ("placewise_commit_seconds_count", {}, 1),
        ("placewise_learn_seconds_sum", {}, 0.0001),
        ("placewise_loop_lag_seconds_bucket", {"le": "0.25"}, 0),
        ("placewise_loop_lag_seconds_bucket", {"le": "1.0"}, 1),
        ("placewise_queue_depth", {"queue": "writer"}, 7),
        ("placewise_open_predictions", {}, 4),
        ("placewise_prediction_error_bucket", {"metric": "latency_ms", "le": "0.15"}, 1),
        ("placewise_prediction_error_count", {"metric": "latency_ms"}, 2),
        ("placewise_validations_total", {"metric": "latency_ms", "within_interval": "true"}, 1),
        ("placewise_validations_total", {"metric": "latency_ms", "within_interval": "false"}, 1),
        ("placewise_bus_connection", {"state": "connected"}, 1),
        ("placewise_bus_connection", {"state": "disconnected"}, 0),
    ]
    found = samples(metrics)
    for name, labels, count in expected:
        assert found[name, frozenset(labels.items())] == count, (name, labels)


def test_nobody_outside_can_add_a_series() -> None:
    metrics = AgentMetrics()
    before = set(samples(metrics))
    for number in range(100):
        metrics.event(f"invented-{number}", "refused")
        metrics.dead_letter(f"invented-{number}")
        metrics.request(f"invented-{number}", f"invented-{number}", 0.1)
        metrics.request("predict", f"invented-{number}", 0.1)
    assert set(samples(metrics)) == before
    assert value(metrics, "placewise_dead_letters_total", code="unknown") == 100
    assert value(metrics, "placewise_requests_total", kind="unknown", outcome="unknown") == 100
    assert value(metrics, "placewise_requests_total", kind="predict", outcome="unknown") == 100


def test_series_stay_bounded() -> None:
    # Rendering costs about 0.1 ms per histogram series: this bound keeps a scrape cheap.
    assert len(samples(AgentMetrics())) < 900


def test_every_error_has_its_series() -> None:
    metrics = AgentMetrics()
    for code in error_codes():
        metrics.dead_letter(code)
        assert value(metrics, "placewise_dead_letters_total", code=code) == 1


def test_two_agents_in_one_process_do_not_mix() -> None:
    one, other = AgentMetrics(), AgentMetrics()
    one.open_predictions(5)
    assert value(other, "placewise_open_predictions") == 0
    assert b"placewise" not in b"".join(metric.name.encode() for metric in REGISTRY.collect()), (
        "the global registry stays untouched"
    )
