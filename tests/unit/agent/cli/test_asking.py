"""Questions over the bus: how long is waited, and what is said where no answer comes."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from agent.bus import wiring
from agent.bus.memory import MemoryBroker, MemoryBus
from agent.cli.asking import over_bus
from agent.client import patience
from agent.settings import Settings
from agent.voice import state_message
from schemas.errors import Unavailable
from schemas.published import AgentState
from schemas.requests import StatusRequest


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> MemoryBroker:
    made = MemoryBroker()
    monkeypatch.setattr(wiring, "client_bus", lambda _settings: MemoryBus(made, lasting=False))
    monkeypatch.setattr("agent.client.STATE_SECONDS", 0.05)
    return made


def state(name: str, status: str) -> AgentState:
    since = datetime(2026, 11, 2, tzinfo=UTC)
    return AgentState.model_validate(
        {"agent_id": name, "status": status, "version": "1", "since": since}
    )


def unanswered(seconds: float = 0.02) -> str:
    with pytest.raises(Unavailable) as caught:
        asyncio.run(over_bus(Settings(), "status", StatusRequest(), seconds))
    return caught.value.message


def test_an_agent_that_is_busy_is_told_from_none(broker: MemoryBroker) -> None:
    assert unanswered() == (
        "no reply within 0.02 s: no agent on this bus says that it is online; "
        "`placewise run` starts one"
    )
    broker.route(state_message(state("gone", "offline")))
    assert "no agent on this bus" in unanswered()
    broker.route(state_message(state("rack1", "online")))
    assert unanswered() == (
        "no reply within 0.02 s: rack1 is online, and busy: --timeout SECONDS waits longer"
    )


def test_a_bus_that_cannot_be_asked_again_is_not_blamed(
    broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.client.CONNECT_SECONDS", 0.05)
    gone = MemoryBroker()
    gone.stop()
    buses = iter([MemoryBus(broker), MemoryBus(gone)])
    monkeypatch.setattr(wiring, "client_bus", lambda _settings: next(buses))
    assert unanswered() == "no reply within 0.02 s: is an agent on this bus?"


@pytest.mark.parametrize(
    ("kind", "seconds"),
    [
        *((kind, 10.0) for kind in ("predict", "status", "models")),
        *((kind, 60.0) for kind in ("active_learning", "batch", "integrate", "capacity")),
        *((kind, 60.0) for kind in ("place", "strategy")),
    ],
)
def test_what_may_take_long_is_waited_for_longer(kind: str, seconds: float) -> None:
    assert patience(kind) == seconds
