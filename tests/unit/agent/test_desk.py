"""Who is answered when, and what is acknowledged when: what takes long holds nobody up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from agent.bus.memory import MemoryBroker, MemoryBus
from agent.bus.port import Delivery, Outgoing
from agent.desk import UNACKNOWLEDGED_REPLIES, Desk
from agent.dispatch import Dispatcher
from agent.heart.effects import Answer, Effect
from agent.heart.stimuli import RequestReceived
from agent.heart.thought import Asked, Thought
from agent.metrics import AgentMetrics
from schemas import topics
from schemas.exploration import ActiveLearningReply
from schemas.replies import AnyReply, PredictReply, UpdateReply
from schemas.requests import CapacityRequest

WANTED = ActiveLearningReply(
    wanted=[], candidates=0, cells=0, uncertainty=0.0, expected_uncertainty=0.0
)
EXPLORING = {
    "active_learning": {"budget": 1_000},
    "batch": {"size": 10},
    "integrate": {"budget": 5},
}
CAPACITY = {"model": "m", "hardware": ["h"]}
PREDICT = {"candidates": [{"model": "m", "hardware": "h"}]}


class SlowAside:
    """Thinks until it is let go on."""

    def __init__(self) -> None:
        self.begun, self.may_end = asyncio.Event(), asyncio.Event()

    async def think(self, _thought: bytes) -> Any:
        self.begun.set()
        await self.may_end.wait()
        return WANTED


class QuickHeart:
    """Has an answer to everything, but for what is thought elsewhere."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def handle(self, stimulus: RequestReceived) -> list[Effect]:
        return self.conclude(self.ask(stimulus), PredictReply(predictions=[]))

    def ask(self, stimulus: RequestReceived) -> Asked:
        self.asked.append(stimulus.kind)
        thinks = not isinstance(stimulus.request, CapacityRequest)
        answer = Thought(dict, {}) if thinks else UpdateReply(accepted="capacity")
        return Asked(stimulus, answer, logged=False, as_of_seq=0)

    def conclude(self, asked: Asked, reply: AnyReply) -> list[Effect]:
        stimulus = asked.stimulus
        return [Answer(stimulus.id, stimulus.kind, reply, logged=False, as_of_seq=0)]


class Requests:
    """An inbox that remembers what was acknowledged."""

    def __init__(self) -> None:
        self.waiting: asyncio.Queue[Delivery] = asyncio.Queue()
        self.acknowledged: list[Delivery] = []

    def put(self, kind: str, body: dict[str, Any], to: str) -> None:
        topic, payload = topics.request(kind), json.dumps(body).encode()
        self.waiting.put_nowait(Delivery(topic, payload, response_topic=to))

    async def receive(self, limit: int) -> list[Delivery]:
        found = [await self.waiting.get()]
        while len(found) < limit and not self.waiting.empty():
            found.append(self.waiting.get_nowait())
        return found

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        self.acknowledged += deliveries

    def told(self) -> list[str | None]:
        return [one.response_topic for one in self.acknowledged]


class Replies(MemoryBus):
    """A bus that keeps what is published."""

    def __init__(self) -> None:
        super().__init__(MemoryBroker())
        self.sent: asyncio.Queue[str] = asyncio.Queue()
        self.errors: list[dict[str, str]] = []

    async def publish(self, message: Outgoing) -> None:
        if error := json.loads(message.payload).get("error"):
            self.errors.append(error)
        self.sent.put_nowait(message.topic)


class Office:
    """A desk with its doubles."""

    def __init__(self) -> None:
        self.requests, self.replies, self.aside = Requests(), Replies(), SlowAside()
        self.heart, self.heart_in_use = QuickHeart(), asyncio.Lock()
        self.desk = Desk(
            inbox=self.requests,
            bus=self.replies,
            heart=self.heart,  # type: ignore[arg-type]
            heart_in_use=self.heart_in_use,
            aside=self.aside,  # type: ignore[arg-type]
            writer=None,  # type: ignore[arg-type]
            voice=None,  # type: ignore[arg-type]
            metrics=AgentMetrics("test"),
            agent_id="test",
            max_payload_bytes=1 << 20,
            own={"status": lambda _: UpdateReply(accepted="status")},
            dispatcher=Dispatcher(MemoryBus(MemoryBroker()), "test"),
            clock=lambda: datetime(2026, 11, 2, tzinfo=UTC),
        )
        self.serving: asyncio.Task[None] | None = None

    async def next_replies(self, count: int) -> list[str]:
        return [await self.replies.sent.get() for _ in range(count)]

    async def until_acknowledged(self, count: int) -> list[str | None]:
        while len(self.requests.acknowledged) < count:
            await asyncio.sleep(0)
        return self.requests.told()


def kind_of_errors(office: Office) -> set[str]:
    return {error["code"] for error in office.replies.errors}


def at_the_desk(work: Callable[[Office], Awaitable[None]]) -> None:
    async def both() -> None:
        office = Office()
        office.serving = serving = asyncio.create_task(office.desk.serve())
        acknowledging = asyncio.create_task(office.desk.acknowledge())
        async with asyncio.timeout(30):
            await work(office)
        assert kind_of_errors(office) <= {"unavailable"}
        serving.cancel()
        acknowledging.cancel()
        await asyncio.wait([serving, acknowledging])

    asyncio.run(both())


@pytest.mark.parametrize("kind", EXPLORING)
def test_a_long_exploration_holds_nobody_up(kind: str) -> None:
    async def work(office: Office) -> None:
        office.requests.put(kind, EXPLORING[kind], "slow")
        await office.aside.begun.wait()
        # Else a broker would soon give out nothing more.
        assert await office.until_acknowledged(1) == ["slow"]
        # More than may wait for their turn to be acknowledged.
        others = [f"quick/{number}" for number in range(UNACKNOWLEDGED_REPLIES + 10)]
        for to in others:
            office.requests.put("predict", PREDICT, to)
        assert sorted(await office.next_replies(len(others))) == sorted(others)
        assert await office.until_acknowledged(1 + len(others)) == ["slow", *others]

        office.aside.may_end.set()
        assert await office.next_replies(1) == ["slow"]

    at_the_desk(work)


def test_explorations_are_thought_one_at_a_time() -> None:
    async def work(office: Office) -> None:
        for to in ("first", "second"):
            office.requests.put("active_learning", EXPLORING["active_learning"], to)
        await office.aside.begun.wait()
        office.requests.put("predict", PREDICT, "quick")
        assert await office.next_replies(1) == ["quick"]
        assert office.heart.asked == ["active_learning", "predict"]
        office.aside.may_end.set()
        assert await office.next_replies(2) == ["first", "second"]

    at_the_desk(work)


def test_what_fits_into_memory_is_answered_beside_the_others_and_acknowledged_in_turn() -> None:
    async def work(office: Office) -> None:
        async with office.heart_in_use:
            office.requests.put("capacity", CAPACITY, "slow")
            office.requests.put("status", {}, "quick")
            assert await office.next_replies(1) == ["quick"]
            assert office.requests.told() == []
        assert await office.next_replies(1) == ["slow"]
        assert await office.until_acknowledged(2) == ["slow", "quick"]

    at_the_desk(work)


def test_whoever_waits_for_an_exploration_is_told_that_the_agent_stops() -> None:
    async def work(office: Office) -> None:
        office.requests.put("active_learning", EXPLORING["active_learning"], "slow")
        await office.aside.begun.wait()
        assert office.serving is not None
        office.serving.cancel()
        assert await office.next_replies(1) == ["slow"]
        (excuse,) = office.replies.errors
        assert excuse["code"] == "unavailable"
        assert "ask again" in excuse["message"]

    at_the_desk(work)
