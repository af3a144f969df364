"""Which store stands behind the port, and how the heart and the daemon are set up."""

from __future__ import annotations

from agent.budget import parse_budget
from agent.daemon import DaemonConfig
from agent.heart.heart import HeartConfig
from agent.knowledge import shipped
from agent.learning.bank import BankConfig
from agent.settings import Settings
from agent.sheets import read_sheets
from agent.store.duck import DuckStore


async def open_store(settings: Settings) -> DuckStore:
    """Open the configured store."""
    return await DuckStore.open(settings.store)


def heart_config(settings: Settings) -> HeartConfig:
    """Return how the heart is set up, and what it begins with. Reads files.

    Raises:
        BadInput: the data sheets of the user's own can't be read.
    """
    sheets = () if settings.hardware_sheets is None else read_sheets(settings.hardware_sheets)
    return HeartConfig(
        bank=BankConfig(sheets=sheets), shipped=shipped() if settings.knowledge else ()
    )


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
