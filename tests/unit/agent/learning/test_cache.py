from __future__ import annotations

import csv
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.learning.cache import published_values, usual_values


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("meta-llama/Llama-2-7b-hf", 262_144.0),
        ("meta-llama/Llama-2-70b-chat-hf", 163_840.0),
        ("huggyllama/llama-7b", 262_144.0),
        ("neuralmagic/Meta-Llama-3-8B-Instruct-FP8", 65_536.0),
        ("llama3.1-8b-instruct", 65_536.0),
        ("mistralai/Mixtral-8x7B-v0.1", 65_536.0),
        ("Qwen/Qwen2-7B", 28_672.0),
        ("Qwen/Qwen1.5-7B", 262_144.0),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", 28_672.0),
        ("llama2-70b-99.9", 163_840.0),
    ],
)
def test_names_of_public_networks_are_known_however_they_are_spelt(
    name: str, values: float
) -> None:
    assert published_values(name) == values


@pytest.mark.parametrize("name", ["", "/", "llama", "llama-9b", "meta-llama", "resnet50", "8b"])
def test_other_names_are_not(name: str) -> None:
    assert published_values(name) is None


@given(st.text(max_size=30))
def test_any_name_will_do(name: str) -> None:
    values = published_values(name)
    assert values is None or values > 0.0


def test_what_is_usual_is_what_grouped_heads_keep() -> None:
    assert usual_values(8_030.0) == pytest.approx(65_536.0, rel=0.25), "Llama 3 8B"
    assert usual_values(34_000.0) == pytest.approx(122_880.0, rel=0.75), "Yi 34B"


def test_every_network_says_where_its_sizes_are_from_and_no_spelling_comes_twice() -> None:
    text = resources.files("agent.learning").joinpath("transformers.csv").read_text("utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    spellings = [one for row in rows for one in (row["name"], *row["aliases"].split(";")) if one]

    assert all(row["origin"] for row in rows)
    assert all(int(row[size]) > 0 for row in rows for size in ("layers", "kv_heads", "head_size"))
    assert len(spellings) == len(set(spellings))
