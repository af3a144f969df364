from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.learning.catalogue import catalogue
from agent.learning.cell import Cell
from agent.learning.features import LINEAR, SPEED, TIME, WIDTH, frame_of

FULL = Cell(
    "resnet50",
    "nvidia-t4",
    architecture="resnet",
    hardware_class="gpu",
    parameters_m=25.6,
    gmacs=4.1,
    activations_m=11.1,
    device_count=1,
    task="inference",
    precision="fp16",
    batch_size=8,
    input_size=224,
)

numbers = st.none() | st.floats(allow_nan=True, allow_infinity=True)


@given(params=numbers, gmacs=numbers, batch=numbers, seq_in=numbers, devices=numbers)
def test_features_are_finite_whatever_comes(
    params: float | None,
    gmacs: float | None,
    batch: float | None,
    seq_in: float | None,
    devices: float | None,
) -> None:
    cell = Cell(
        "m",
        "h",
        parameters_m=params,
        gmacs=gmacs,
        batch_size=batch,
        sequence_in=seq_in,
        device_count=devices,
    )

    frame = frame_of([cell], catalogue())

    assert frame.linear.shape == (1, WIDTH)
    assert np.isfinite(frame.linear).all()
    assert np.isfinite(frame.sizes).all()


def test_what_is_missing_is_flagged_and_not_zero() -> None:
    bare = frame_of([Cell("m", "h")], catalogue())
    full = frame_of([FULL], catalogue())

    for flag in ("no_params", "no_gmacs", "no_acts", "no_batch", "no_sheet"):
        assert bare.linear[0, LINEAR.index(flag)] == 1
        assert full.linear[0, LINEAR.index(flag)] == 0
    assert bare.missing[0] == 1
    assert full.missing[0] == 0
    assert np.abs(bare.linear[0]).max() < 5


def test_twice_the_work_takes_twice_the_time() -> None:
    frame = frame_of([FULL, FULL._replace(gmacs=8.2, activations_m=22.2)], catalogue())
    time = 2 * frame.linear[:, TIME]

    assert time[1] - time[0] == pytest.approx(math.log(2), abs=0.1)


def test_a_faster_device_takes_less_time() -> None:
    frame = frame_of([FULL, FULL._replace(hardware="nvidia-h100")], catalogue())
    slower = 2 * frame.linear[:, SPEED]

    assert frame.linear[0, TIME] == frame.linear[1, TIME]
    assert slower[1] < slower[0] - 1


def test_rows_do_not_depend_on_their_neighbours() -> None:
    cells = [FULL, Cell("m", "h"), FULL._replace(hardware="nvidia-h100", batch_size=None)]
    together = frame_of(cells, catalogue())

    for row, cell in enumerate(cells):
        alone = frame_of([cell], catalogue())
        assert (alone.linear[0] == together.linear[row]).all()
        assert alone.keys[0] == together.keys[row]


@pytest.mark.parametrize(
    ("model", "stem"),
    [
        ("vit_base_patch16_224.augreg_in21k", "vit_base_patch16_224"),
        ("Qwen/Qwen1.5-7B", "Qwen/Qwen1.5-7B"),
        ("mistralai/Mistral-7B-v0.1", "mistralai/Mistral-7B-v0.1"),
    ],
)
def test_a_tag_after_a_dot_names_other_weights_of_one_network(model: str, stem: str) -> None:
    one, other = frame_of([FULL._replace(model=name) for name in (model, stem)], catalogue()).keys

    assert one.stem == other.stem
    assert (one.model == other.model) == (model == stem)


def test_a_version_is_no_tag() -> None:
    one, other = frame_of(
        [FULL._replace(model=name) for name in ("Qwen1.5-7B", "Qwen1")], catalogue()
    ).keys

    assert one.stem != other.stem


def test_names_of_different_kinds_are_never_the_same() -> None:
    (keys,) = frame_of([Cell("x", "x", architecture="x", task="x")], catalogue()).keys

    assert len({keys.model, keys.stem, keys.group, keys.task, keys.hardware, keys.setup}) == 6


def test_options_of_a_runtime_are_told_apart_one_by_one() -> None:
    def differ(one: str | None, other: str | None) -> int:
        parts = [
            frame_of([FULL._replace(runtime_options=options)], catalogue()).keys[0].parts
            for options in (one, other)
        ]
        return sum(mine != theirs for mine, theirs in zip(*parts, strict=True))

    assert differ("nhwc/cu124/eager", "nchw/cu124/eager") == 1
    assert differ("nhwc/cu124/eager", "nchw/cu113/dynamo") == 3
    assert differ("weights = fp16, cache = fp8", "weights = fp16, cache = fp16") == 2
    assert differ("eager", "fusion") == 3
    assert differ(None, "a/b/c/d/e") == 3
    assert differ("a/b/c/d", "a/b/c/e") == 1
    assert differ(None, None) == 0


def test_squares_of_sizes_stop_where_nothing_is_usual() -> None:
    vast, vaster = frame_of(
        [
            Cell("a", "h", gmacs=1e5, activations_m=1e5),
            Cell("b", "h", gmacs=1e6, activations_m=1e6),
        ],
        catalogue(),
    ).linear

    for column in ("gmacs_gmacs", "acts_acts", "gmacs_acts"):
        assert vast[LINEAR.index(column)] == vaster[LINEAR.index(column)]
    assert vaster[LINEAR.index("gmacs")] > vast[LINEAR.index("gmacs")]


WRITES = Cell(
    "a",
    "nvidia-a100",
    family="text_generation",
    parameters_m=8_000.0,
    precision="fp16",
    batch_size=1.0,
    sequence_in=1_024.0,
    sequence_out=1_024.0,
)
MIXTURE = WRITES._replace(model="b-30B-A3B", parameters_m=30_000.0)


def column(name: str, *cells: Cell) -> list[float]:
    found: list[float] = frame_of(cells, catalogue()).linear[:, LINEAR.index(name)].tolist()
    return found


def test_a_batch_touches_more_experts_than_an_item_until_it_is_bound_by_operations() -> None:
    sizes = (1.0, 4.0, 16.0, 64.0, 100_000.0)
    cells = [MIXTURE._replace(batch_size=size) for size in sizes]
    one, few, more, many, most = column("touched", *cells)

    assert one == 0.0
    assert 0.0 < few < more < math.log(10.0) / 2
    assert most == 0.0 < many
    assert column("touched", WRITES, WRITES._replace(batch_size=64.0)) == [0.0, 0.0]


def test_a_cache_takes_time_with_context_batch_and_values() -> None:
    longer = WRITES._replace(sequence_in=8_192.0)
    together = WRITES._replace(batch_size=64.0)
    every_head = WRITES._replace(kv_values_per_token=262_144.0)
    narrow = WRITES._replace(kv_precision="fp8")
    alone, *more, less = column("cached", WRITES, longer, together, every_head, narrow)

    assert 0.0 < less < alone < min(more)


def test_what_keeps_nothing_reads_no_cache() -> None:
    embeds = WRITES._replace(sequence_out=None)
    sizeless = WRITES._replace(parameters_m=None)
    public = sizeless._replace(model="meta-llama/Meta-Llama-3-8B")

    assert column("cached", FULL, embeds, sizeless) == [0.0, 0.0, 0.0]
    assert column("cached", public) > [0.0]
