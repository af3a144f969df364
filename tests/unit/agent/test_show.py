"""What executions look like on the command line."""

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


def printed(what: Any, body: Any) -> str:
    console = Console(width=160, file=io.StringIO())
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
