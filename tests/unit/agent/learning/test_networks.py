from __future__ import annotations

import csv
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.learning.networks import known_network


@pytest.mark.parametrize(
    ("name", "parameters_m", "rest"),
    [
        ("resnet50", 25.56, ""),
        ("google/ResNet-50-v1.5", 25.56, "-v1.5"),
        ("ssd-resnet34", 36.3, ""),
        ("resnet34", 21.8, ""),
        ("bert-99.9", 340.0, ""),
        ("bert-base-uncased", 110.0, "-uncased"),
        ("gpt2", 124.0, ""),
        ("gpt2-xl", 1558.0, ""),
        ("mobilenet-v3-small_224_0.75_float", 2.04, "_float"),
        ("mobilenet-v3-small_192_1.0", 2.54, "_192_1.0"),
        ("inception3", 23.83, ""),
        ("squeezenet1.1", 1.24, ""),
    ],
)
def test_the_most_words_at_the_beginning_win(name: str, parameters_m: float, rest: str) -> None:
    found = known_network(name)

    assert found is not None
    assert found[0].parameters_m == parameters_m
    assert found[1] == rest


@pytest.mark.parametrize("name", ["", "/", "my-resnet50", "resnet50x4", "resnet", "llama-7b", "50"])
def test_other_names_stand_for_nothing_that_was_published(name: str) -> None:
    assert known_network(name) is None


@given(st.text(max_size=30))
def test_any_name_will_do(name: str) -> None:
    found = known_network(name)

    assert found is None or name.casefold().endswith(found[1])


def test_every_network_says_where_its_sizes_are_from_and_no_spelling_comes_twice() -> None:
    text = resources.files("agent.learning").joinpath("networks.csv").read_text("utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    spellings = [one for row in rows for one in (row["name"], *row["aliases"].split(";")) if one]

    assert all(row["origin"] and float(row["parameters_m"]) > 0.0 for row in rows)
    # Operations belong to an input: without its size they could not follow another one.
    assert all(row["input_size"] or not row["gmacs"] or row["name"] == "3d-unet" for row in rows)
    assert len(spellings) == len(set(spellings))
