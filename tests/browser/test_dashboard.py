"""The dashboard in a real browser, of a real agent: what happens is seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.web.dashboard import CHARTS
from tests.support.agent import AgentProcess, benchmark_event, wait_until
from tests.support.browsers import Browser, kind
from tests.support.foreign import Foreign

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

TOPIC = "placewise/v1/events/benchmark/dashboard"
CELL = {
    "model": "resnet50",
    "hardware": "nvidia-rtx-3090",
    "setup": {"task": "inference", "batch_size": 32, "precision": "fp16"},
}


@pytest.mark.skipif(kind("chromium").program is None, reason=kind("chromium").missing)
@pytest.mark.skipif(not CHARTS.is_file(), reason="its charts are missing: run `make assets`")
def test_it_shows_what_happens_and_says_when_the_agent_has_gone(tmp_path: Path) -> None:
    with AgentProcess(tmp_path, None) as agent:
        agent.start()
        address = f"http://127.0.0.1:{agent.http_port}/"
        with Foreign(agent.broker_port) as client, Browser(kind("chromium"), address) as browser:

            def shown(*texts: str) -> None:
                wait_until(
                    lambda: all(text in browser.text(address) for text in texts),
                    30,
                    f"{texts} shown",
                    pause=0.3,
                )

            wait_until(lambda: any(one["url"] == address for one in browser.tabs()), 30, "open")
            shown("test-agent, version")
            client.publish(TOPIC, benchmark_event("1"))
            client.publish(TOPIC, {"specversion": "1.0"})
            shown("1\nevents logged", "1\nmessages refused", TOPIC)
            reply = client.ask("placewise/v1/requests/predict", {"candidates": [CELL]})
            prediction_id = reply["predictions"][0]["prediction_id"]
            client.publish(TOPIC, benchmark_event("2", prediction_id=prediction_id))
            # In the table of accuracies, and to be chosen for the charts.
            shown("throughput_per_s\t1\t", "Metric \nlatency_ms")
            assert agent.terminate() == 0
            shown("no answer")
