"""Which adapter stands behind which port: the only place where they are chosen."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from agent.budget import parse_budget
from agent.bus.address import BrokerAddress, parse_address
from agent.bus.embedded import HOST, EmbeddedBroker
from agent.bus.mqtt import MqttBus, MqttConfig
from agent.bus.port import Outgoing
from agent.daemon import DaemonConfig
from agent.heart.heart import HeartConfig
from agent.knowledge import shipped
from agent.settings import Settings
from agent.store.duck import DuckStore
from agent.version import VERSION
from agent.voice import state_message
from schemas.published import AgentState


@asynccontextmanager
async def broker_for(settings: Settings) -> AsyncIterator[BrokerAddress]:
    """Give the address of the configured broker, or of one of our own for as long as needed."""
    if settings.broker is not None:
        yield configured_address(settings)
        return
    async with EmbeddedBroker(settings.embedded_port) as broker:
        yield broker.address


def configured_address(settings: Settings) -> BrokerAddress:
    """Return where the configured broker is, or where an agent of this machine puts its own."""
    if settings.broker is None:
        return BrokerAddress(HOST, settings.embedded_port)
    password = settings.broker_password
    return parse_address(
        settings.broker,
        settings.broker_username,
        password.get_secret_value() if password is not None else None,
    )


def agent_bus(settings: Settings, address: BrokerAddress) -> MqttBus:
    """Return the agent's own bus: its session outlasts it, and its will tells of its death."""
    gone = AgentState(
        agent_id=settings.agent_id,
        status="offline",
        version=VERSION,
        since=datetime.now(UTC),
    )
    config = MqttConfig(
        client_id=f"placewise-{settings.agent_id}", lasting=True, will=state_message(gone)
    )
    return MqttBus(address, config)


def client_bus(settings: Settings) -> MqttBus:
    """Return the bus of a command, which leaves nothing behind."""
    return bus_to(configured_address(settings))


def worker_bus(settings: Settings, worker_id: str, will: Outgoing) -> MqttBus:
    """Return a worker's bus: its will tells of its death; jobs that nobody took are not kept."""
    config = MqttConfig(client_id=f"placewise-worker-{worker_id}", lasting=False, will=will)
    return MqttBus(configured_address(settings), config)


def bus_to(address: BrokerAddress) -> MqttBus:
    """Return a passing client's bus."""
    return MqttBus(address, MqttConfig(client_id=f"placewise-{uuid.uuid4().hex}", lasting=False))


async def open_store(settings: Settings) -> DuckStore:
    """Open the configured store."""
    return await DuckStore.open(settings.store)


def heart_config(settings: Settings) -> HeartConfig:
    """Return how the heart is set up, and what it begins with. Reads a file."""
    return HeartConfig(shipped=shipped() if settings.knowledge else ())


def daemon_config(settings: Settings) -> DaemonConfig:
    """Return what the daemon needs of the settings."""
    return DaemonConfig(
        agent_id=settings.agent_id,
        max_payload_bytes=settings.max_payload_bytes,
        inbox_capacity=settings.inbox_capacity,
        max_batch_events=settings.max_batch_events,
        snapshot_every_events=settings.snapshot_every_events,
        explore=None if settings.explore is None else parse_budget(settings.explore),
    )
