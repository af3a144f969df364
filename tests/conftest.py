"""What every test has: blocking calls on the event loop raise, and nothing is set outside."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from blockbuster import BlockBuster, blockbuster_ctx
from hypothesis import HealthCheck, settings

# How fast examples are made depends on what else the machine does, and says nothing of the law.
settings.register_profile(
    "steady", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
settings.load_profile("steady")

OURS = ("agent", "schemas", "strategies", "web_bridge")


@pytest.fixture(autouse=True)
def blocking_calls_raise() -> Iterator[BlockBuster]:
    """Raise `BlockingError` where our code blocks a running event loop.

    Only calls with one of our packages on the stack count: a test may read a file.
    """
    with blockbuster_ctx(OURS) as detector:
        yield detector


@pytest.fixture(autouse=True)
def _nothing_set_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the settings of whoever runs the tests out of them."""
    for name in list(os.environ):
        if name.startswith("PLACEWISE_") or name in {"NOTIFY_SOCKET", "CREDENTIALS_DIRECTORY"}:
            monkeypatch.delenv(name)
