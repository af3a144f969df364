"""A bare echo over the bus: what a request costs when answering it costs nothing.

    python -m tests.benchmarks.echo PORT

Answers each message on `bench/echo` with its own payload, through the bus that the agent uses,
until standard input ends.
"""

from __future__ import annotations

import asyncio
import sys

import uvloop

from agent.bus import wiring
from agent.bus.address import BrokerAddress
from agent.bus.port import Outgoing

TOPIC = "bench/echo"


async def echo(port: int) -> None:
    """Answer until standard input ends."""
    bus = wiring.bus_to(BrokerAddress("127.0.0.1", port))
    inbox = bus.inbox([TOPIC], capacity=1_000)

    async def answer() -> None:
        async with asyncio.TaskGroup() as replies:
            while True:
                deliveries = await inbox.receive(64)
                for one in deliveries:
                    assert one.response_topic is not None
                    reply = Outgoing(
                        one.response_topic, one.payload, correlation_data=one.correlation_data
                    )
                    replies.create_task(bus.publish(reply))
                await inbox.acknowledge(deliveries)

    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(bus.run()), tasks.create_task(answer())]
        await asyncio.to_thread(sys.stdin.read)
        await bus.close()
        for task in running:
            task.cancel()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(echo(int(sys.argv[1])))
