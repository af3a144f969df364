from __future__ import annotations

from xml.etree import ElementTree

from strategies.choose import choose
from strategies.drawing import picture, timeline
from tests.unit.strategies.making import predicted, work


def test_bars_stand_where_the_slots_are() -> None:
    reply = choose(
        work(["b", "a"], goal="memory"),
        {"a": predicted(latency=30, memory=10), "b": predicted(latency=10, memory=20)},
        "d",
    )
    assert reply.chosen is not None
    assert timeline(reply.chosen, width=8) == (
        "sequential: 40 ms\nb ██······ 10 ms\na ··██████ 40 ms"
    )


def test_short_models_and_long_names_can_be_seen() -> None:
    name = "a-model-with-a-very-long-name-indeed"
    reply = choose(
        work([name, "z"], goal="memory"),
        {name: predicted(latency=10_000, memory=9), "z": predicted(latency=0.01, memory=9)},
        "d",
    )
    assert reply.chosen is not None
    lines = timeline(reply.chosen, width=10).splitlines()
    assert lines[1].split()[1] == "█·········"
    assert lines[2].startswith("a-model-with-a-very-lon… ██████████ ") or "█" in lines[2]
    assert len({line.count("█") + line.count("·") for line in lines[1:]}) == 1


def test_the_picture_shows_every_model_in_its_place() -> None:
    reply = choose(
        work(["<b>", "a"], goal="memory"),
        {"a": predicted(latency=30, memory=10), "<b>": predicted(latency=10, memory=20)},
        "d",
    )
    assert reply.chosen is not None
    root = ElementTree.fromstring(picture(reply.chosen))
    space = "{http://www.w3.org/2000/svg}"
    texts = [one.text for one in root.iter(f"{space}text")]
    assert {"<b>", "a", "10 ms", "40 ms", "sequential: 40 ms"} == set(texts)
    first, second = root.iter(f"{space}rect")
    edge = float(first.attrib["x"]) + float(first.attrib["width"])
    assert abs(edge - float(second.attrib["x"])) < 0.1
    assert float(second.attrib["width"]) > 2.5 * float(first.attrib["width"])
    assert first.attrib["fill"] != second.attrib["fill"]
