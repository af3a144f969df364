"""Which tabs are alike, and the name that tells them from all others."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter

from agent.browsers.groups import grouped, prefix_of
from schemas.jobs import WorkerId
from tests.support.tabs import hello
from web_bridge.tab import Tab


def test_no_two_of_very_many_machines_have_one_name() -> None:
    """Hardware and version are known of a worker by what is hashed of them alone."""
    machines = [(cores, minor) for cores in range(1, 51) for minor in range(40)]
    tabs = [
        Tab.of(hello(f"tab-{cores:03}-{minor:03}", cores=cores, version=f"156.0.{minor}"), 0.0, "")
        for cores, minor in machines
    ]
    groups = grouped("rack1", tabs)
    assert len(groups) == len(machines)
    assert {len(one.tabs) for one in groups.values()} == {1}


@pytest.mark.parametrize("agent_id", ["a", "rack-1.lab." + "x" * 53])
@pytest.mark.parametrize("browser", ["b" * 40, "a browser/of ours é"])
def test_names_are_ids_of_workers_whatever_those_are_that_they_are_made_of(
    agent_id: str, browser: str
) -> None:
    tab = Tab.of(hello("tab-00001", browser=browser, version="1234567890.0"), 0.0, "")
    for worker_id in grouped(agent_id, [tab]):
        assert TypeAdapter(WorkerId).validate_python(worker_id) == worker_id
        assert worker_id.startswith(prefix_of(agent_id))
