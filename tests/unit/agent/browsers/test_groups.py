"""Which tabs are alike, and the name that tells them from all others."""

from __future__ import annotations

from agent.browsers.groups import grouped
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
    assert max(map(len, groups)) <= 80
