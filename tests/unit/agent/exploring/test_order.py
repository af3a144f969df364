"""Which benchmarks workers get first."""

from __future__ import annotations

from agent.heart.cells import cell_of
from agent.heart.heart import Heart
from schemas.measurement import HardwareSpec, ModelSpec, Setup
from tests.unit.agent.exploring.test_asked import giants

_SETUP = Setup(task="inference", batch_size=2, precision="fp16", runtime="ort")


def ordered(heart: Heart, *models: ModelSpec) -> list[str]:
    hardware = HardwareSpec(name="nvidia-rtx-3090")
    cells = [cell_of(model, hardware, _SETUP) for model in models]
    order = heart.order(cells, runs=6, longest_s=10.0, order_id="o")
    return [one.model.name for one in order.think()]


def test_what_does_not_fit_is_left_out_if_anything_else_is_there() -> None:
    small = ModelSpec(name="small", family="vision", parameters_m=5.0)
    giant = ModelSpec(name="giant", family="vision", parameters_m=60_000.0)
    assert ordered(giants(), small, giant) == ["small"]
    assert ordered(giants(), giant) == ["giant"]
