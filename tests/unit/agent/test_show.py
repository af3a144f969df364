"""What replies look like on the command line."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from agent.cli import show


def execution(**result: Any) -> dict[str, Any]:
    compared = {
        "metric": "total_latency_ms",
        "predicted": 80.0,
        "low": 60.0,
        "high": 90.0,
        "measured": 100.0,
        "absolute_percentage_error": 0.2,
        "within_interval": False,
    }
    told = {"outcome": "ok", "strategy": "parallel", "waves": [["a", "b"]], "models": [], **result}
    return {"result": told, "predicted": None, "compared": [compared]}


def printed(what: Any, body: Any, width: int = 160) -> str:
    console = Console(width=width, file=io.StringIO())
    what(console, body)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_predictions_stand_beside_what_was_measured() -> None:
    text = printed(show.executions, [execution()])
    (line,) = [line for line in text.splitlines() if "total_latency_ms" in line]
    assert [word for word in ("parallel", "80", "100", "20.0%", "no") if word not in line] == []


def test_reused_embeddings_are_told() -> None:
    reuse = {"runs": 8, "reused": 6, "hit_rate": 0.75, "saved_ms": 360.4, "kept_mb": 0.2}
    text = printed(show.executions, [execution(reuse=reuse)])
    assert "embeddings reused: 6 of 8 (75%), 360 ms saved; 0.2 MB kept" in text


def test_a_recommendation_is_told_with_what_it_came_to() -> None:
    def said(recommended: str | None, best: str | None, regret: float | None) -> str:
        body = {"goal": "latency", "recommended": recommended, "best": best, "regret": regret}
        return printed(show.recommended, body)

    assert "parallel; measured by latency: the best" in said("parallel", "parallel", 0.0)
    assert "12.5% worse than batched" in said("parallel", "batched", 0.125)
    assert "too little was known" in said(None, "batched", None)
    assert said("parallel", None, None) == ""


def models(bias: float, error: float) -> dict[str, Any]:
    names = ("nvidia-a100-sxm4-80gb", "nvidia-a100-sxm4-40gb")
    standing = {
        "metric": "throughput_per_s",
        "events": 1_234,
        "recent_ape": error,
        "usual_ape": None,
        "bias": bias,
        "trend": "steady",
    }
    return {
        "version": 3,
        "observations_learned": 1_234,
        "refinements": [],
        "standings": [standing | {"hardware": name} for name in names],
    }


def test_what_mixed_units_do_to_a_bias_is_not_told_to_the_last_digit() -> None:
    text = printed(show.models, models(15_169.37, 15_169.37))
    assert ">+1000%" in text
    assert ">1000%" in text
    assert "1516937" not in text
    text = printed(show.models, models(-0.123, 0.456))
    assert "-12.3%" in text
    assert "45.6%" in text


def test_hardware_can_be_told_apart_at_eighty_columns() -> None:
    text = printed(show.models, models(0.1, 0.2), width=80)
    assert "80gb" in text
    assert "40gb" in text
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_an_estimate_keeps_its_digits_at_eighty_columns() -> None:
    figures = {"value": 1_234_567.0, "low": 1_111_111.0, "high": 1_333_333.0, "confidence": 0.85}
    metrics = dict.fromkeys(("throughput_per_s", "latency_ms", "memory_mb", "power_w"), figures)
    row = {"model": "vit_base_patch16_224", "hardware": "nvidia-a100-sxm4-80gb", "notes": []}
    text = printed(show.predictions, {"predictions": [row | {"metrics": metrics}]}, width=80)
    for number in ("1,234,567", "1,111,111…1,333,333", "85%"):
        assert text.split().count(number) == 4


def test_names_with_brackets_are_no_markup() -> None:
    row = {"model": "a[/b]", "hardware": "c[d]", "notes": ["e[/f]"], "metrics": {}}
    text = printed(show.predictions, {"predictions": [row]})
    assert [name for name in ("a[/b]", "c[d]", "e[/f]") if name not in text] == []
