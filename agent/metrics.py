"""Counters and histograms of the agent's work, for Prometheus.

Every label has a fixed set of values, all made at the start: a series that has not happened
yet reads zero, an update touches no dictionary that could grow, and nobody outside can add a
series by sending a new name.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable
from typing import Generic, Literal, TypeVar, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    generate_latest,
)

from agent.bus.port import ConnectionState
from schemas.codes import error_codes
from schemas.explore import JobState
from schemas.measurement import PromisedMetric
from schemas.published import AlertKind
from schemas.topics import REQUEST_KINDS

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
UNKNOWN = "unknown"

EventOutcome = Literal["accepted", "refused"]
QueueName = Literal["writer", "learner", "voice"]

CONNECTION_STATES: tuple[ConnectionState, ...] = get_args(ConnectionState)

# Upper bounds in seconds. Requests should take milliseconds; a commit 1 to 2 ms; learning
# tens of microseconds; the loop's lag is nothing below 1 ms and alarming above 100 ms.
_REQUEST_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 5)
_COMMIT_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 5)
_LEARN_SECONDS = (0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.25)
_LAG_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1, 5)
_ERROR_SHARES = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2, 5)

M = TypeVar("M", Counter, Gauge, Histogram)


class _Series(Generic[M]):
    """One metric with one label, whose values are all known beforehand."""

    def __init__(self, metric: M, values: Iterable[str]) -> None:
        self._children: dict[str, M] = {value: metric.labels(value) for value in values}

    def __getitem__(self, value: str) -> M:
        """Return the series of `value`; of `unknown` for a value that nobody foresaw."""
        return self._children.get(value) or self._children[UNKNOWN]


class AgentMetrics:
    """The metrics of one agent, in a registry of their own.

    Updates are cheap and may come from any thread. `render` is not cheap: call it from a
    thread, not from the event loop.

    Args:
        version: of the agent, for `placewise_build_info`.
    """

    def __init__(self, version: str = "unknown") -> None:
        registry = CollectorRegistry()
        self._registry = registry
        codes = [*error_codes(), UNKNOWN]
        kinds = [*REQUEST_KINDS, UNKNOWN]

        events = Counter(
            "placewise_events", "Events that arrived.", ["type", "outcome"], registry=registry
        )
        self._events = {
            kind: {outcome: events.labels(kind, outcome) for outcome in get_args(EventOutcome)}
            for kind in ("benchmark", "execution", UNKNOWN)
        }
        self._dead_letters = _Series(
            Counter("placewise_dead_letters", "Messages refused.", ["code"], registry=registry),
            codes,
        )
        requests = Counter(
            "placewise_requests", "Requests by outcome.", ["kind", "outcome"], registry=registry
        )
        self._requests = {
            kind: {outcome: requests.labels(kind, outcome) for outcome in ("ok", *codes)}
            for kind in kinds
        }
        self._request_seconds = _Series(
            Histogram(
                "placewise_request_seconds",
                "From taking a request to handing over its reply.",
                ["kind"],
                buckets=_REQUEST_SECONDS,
                registry=registry,
            ),
            kinds,
        )
        self._records = _Series(
            Counter(
                "placewise_records",
                "Log records by what became of them.",
                ["outcome"],
                registry=registry,
            ),
            ("new", "duplicate"),
        )
        self._commit_seconds = Histogram(
            "placewise_commit_seconds",
            "Committing one batch to the log.",
            buckets=_COMMIT_SECONDS,
            registry=registry,
        )
        self._learn_seconds = Histogram(
            "placewise_learn_seconds",
            "Learning one event, all its metrics.",
            buckets=_LEARN_SECONDS,
            registry=registry,
        )
        self._loop_lag = Histogram(
            "placewise_loop_lag_seconds",
            "How late the event loop wakes a sleeper.",
            buckets=_LAG_SECONDS,
            registry=registry,
        )
        self._queue_depth = _Series(
            Gauge("placewise_queue_depth", "What waits in a queue.", ["queue"], registry=registry),
            get_args(QueueName),
        )
        self._open_predictions = Gauge(
            "placewise_open_predictions",
            "Predictions that wait for a measurement.",
            registry=registry,
        )
        self._errors = _Series(
            Histogram(
                "placewise_prediction_error",
                "Absolute error of validated predictions, as a share of the measurement.",
                ["metric"],
                buckets=_ERROR_SHARES,
                registry=registry,
            ),
            get_args(PromisedMetric),
        )
        covered = Counter(
            "placewise_validations",
            "Validated predictions, by whether the 90 % interval held the measurement.",
            ["metric", "within_interval"],
            registry=registry,
        )
        self._validations: dict[tuple[str, bool], Counter] = {
            (metric, within): covered.labels(metric, str(within).lower())
            for metric in get_args(PromisedMetric)
            for within in (True, False)
        }
        self._alerts = _Series(
            Counter("placewise_alerts", "What was told as an alert.", ["kind"], registry=registry),
            (*get_args(AlertKind), UNKNOWN),
        )
        self._quarantined = Gauge(
            "placewise_quarantined",
            "Impossible measurements that are set aside, and can be released.",
            registry=registry,
        )
        self._learned_bytes = Gauge(
            "placewise_learned_bytes",
            "Memory that what was learnt takes, counted every ten seconds.",
            registry=registry,
        )
        self._exploration_jobs = _Series(
            Counter(
                "placewise_exploration_jobs",
                "Benchmarks that workers were given unasked, by what became of them.",
                ["state"],
                registry=registry,
            ),
            (*(state for state in get_args(JobState) if state != "running"), UNKNOWN),
        )
        self._exploration_left = Gauge(
            "placewise_exploration_left",
            "What is left of the budget for exploration, in its unit.",
            registry=registry,
        )
        self._exploration_gain = _Series(
            Gauge(
                "placewise_exploration_gain",
                "Share of uncertainty that exploration removed, each job's of what those before it "
                "left; and was expected to.",
                ["which"],
                registry=registry,
            ),
            ("expected", "measured"),
        )
        self._connection = _Series(
            Gauge(
                "placewise_bus_connection",
                "1 for the state that the connection is in.",
                ["state"],
                registry=registry,
            ),
            CONNECTION_STATES,
        )
        self.connection("disconnected")
        Info("placewise_build", "What runs here.", registry=registry).info(
            {"version": version, "python": platform.python_version()}
        )
        ProcessCollector(registry=registry)

    def event(self, kind: str, outcome: EventOutcome) -> None:
        """Count an event that arrived: "benchmark", "execution", or anything else as unknown."""
        (self._events.get(kind) or self._events[UNKNOWN])[outcome].inc()

    def dead_letter(self, code: str) -> None:
        """Count a refused message by its error code."""
        self._dead_letters[code].inc()

    def request(self, kind: str, outcome: str, seconds: float) -> None:
        """Count a request: `outcome` is "ok" or an error code."""
        outcomes = self._requests.get(kind) or self._requests[UNKNOWN]
        (outcomes.get(outcome) or outcomes[UNKNOWN]).inc()
        self._request_seconds[kind].observe(seconds)

    def commit(self, new: int, duplicates: int, seconds: float) -> None:
        """Count one committed batch."""
        self._records["new"].inc(new)
        self._records["duplicate"].inc(duplicates)
        self._commit_seconds.observe(seconds)

    def learned(self, seconds: float) -> None:
        """Count one event that the heart learnt from."""
        self._learn_seconds.observe(seconds)

    def loop_lag(self, seconds: float) -> None:
        """Note how late the loop was."""
        self._loop_lag.observe(seconds)

    def queue_depth(self, queue: QueueName, depth: int) -> None:
        """Note how much waits in a queue."""
        self._queue_depth[queue].set(depth)

    def open_predictions(self, count: int) -> None:
        """Note how many predictions wait for their measurement."""
        self._open_predictions.set(count)

    def validation(
        self, metric: str, absolute_percentage_error: float, *, within_interval: bool
    ) -> None:
        """Count a prediction that was held against its measurement (error as a fraction)."""
        self._errors[metric].observe(absolute_percentage_error)
        self._validations[metric, within_interval].inc()

    def alert(self, kind: str) -> None:
        """Count an alert."""
        self._alerts[kind].inc()

    def explored(self, state: JobState) -> None:
        """Count a benchmark that ended."""
        self._exploration_jobs[state].inc()

    def exploration(self, left: float, expected_gain: float, gain: float) -> None:
        """Note what is left of the budget, and what was gained so far."""
        self._exploration_left.set(left)
        self._exploration_gain["expected"].set(expected_gain)
        self._exploration_gain["measured"].set(gain)

    def quarantined(self, count: int) -> None:
        """Note how many measurements are set aside."""
        self._quarantined.set(count)

    def learned_state(self, size_bytes: int) -> None:
        """Note how much memory learned state takes."""
        self._learned_bytes.set(size_bytes)

    def connection(self, state: ConnectionState) -> None:
        """Note the state of the connection to the broker."""
        for known in CONNECTION_STATES:
            self._connection[known].set(known == state)

    def render(self) -> bytes:
        """Return everything in Prometheus' text format (see `CONTENT_TYPE`)."""
        return generate_latest(self._registry)
