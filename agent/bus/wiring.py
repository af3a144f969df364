"""Which bus stands behind the port, and to which broker it goes: the only place to choose them."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from agent.bus.address import BrokerAddress, parse_address
from agent.bus.embedded import HOST, EmbeddedBroker
from agent.bus.mqtt import MqttBus, MqttConfig
from agent.bus.port import Outgoing
from agent.settings import Settings


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


def agent_bus(settings: Settings, address: BrokerAddress, will: Outgoing) -> MqttBus:
    """Return the agent's own bus: its session outlasts it, and its will tells of its death."""
    config = MqttConfig(client_id=f"placewise-{settings.agent_id}", lasting=True, will=will)
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
