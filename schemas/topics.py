"""Where things are said on the bus. Contract version 1."""

from __future__ import annotations

from typing import Literal, get_args

PREFIX = "placewise/v1"

EVENTS_BENCHMARK = f"{PREFIX}/events/benchmark"
EVENTS_EXECUTION = f"{PREFIX}/events/execution"
REQUESTS = f"{PREFIX}/requests"

RequestKind = Literal[
    "predict",
    "compare",
    "recommend",
    "place",
    "strategy",
    "execute",
    "compare_strategies",
    "capacity",
    "quarantine",
    "release",
    "best_browser",
    "browsers",
    "status",
    "models",
    "update",
    "active_learning",
    "validation",
    "explore",
    "batch",
    "integrate",
]
REQUEST_KINDS: tuple[RequestKind, ...] = get_args(RequestKind)

EVENT_FILTERS = (f"{EVENTS_BENCHMARK}/#", f"{EVENTS_EXECUTION}/#")
REQUEST_FILTER = f"{REQUESTS}/#"
WORKERS = f"{PREFIX}/workers"
WORKER_STATE_FILTER = f"{WORKERS}/+/state"

AgentChannel = Literal[
    "state", "decisions", "validations", "alerts", "refinements", "wanted", "dead_letters"
]
AGENT_CHANNELS: tuple[AgentChannel, ...] = get_args(AgentChannel)

WorkerChannel = Literal["state", "jobs"]


def request(kind: str) -> str:
    """Return the topic of a kind of request."""
    return f"{REQUESTS}/{kind}"


def agent(agent_id: str, channel: AgentChannel) -> str:
    """Return the topic on which an agent says something of itself."""
    return f"{PREFIX}/agents/{agent_id}/{channel}"


def worker(worker_id: str, channel: WorkerChannel) -> str:
    """Return the topic of a worker's state, or of the jobs that it takes."""
    return f"{WORKERS}/{worker_id}/{channel}"
