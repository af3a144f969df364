"""Four ways of holding rows back, each by seed."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agent.evaluation import Row

FEW_SHOT = 20
MAX_HELD_BACK_SHARE = 0.4


@dataclass(frozen=True, slots=True)
class Split:
    """Rows to learn, rows to judge by, and how many of each new set-up may be learnt first."""

    name: str
    train: list[Row]
    test: list[Row]
    few_shot: int = 0


def random_rows(rows: Sequence[Row], seed: int) -> Split:
    """Hold back a tenth of the rows."""
    chance = random.Random(seed)
    held = {index for index in range(len(rows)) if chance.random() < 0.10}
    return _split("random rows", rows, lambda index, _: index in held)


def unseen_models(rows: Sequence[Row], seed: int) -> Split:
    """Hold back every row of 15 % of the models of each source."""
    held = _some({(row.source, _base(row)) for row in rows}, 0.15, seed)
    return _split("unseen models", rows, lambda _, row: (row.source, _base(row)) in held)


def unseen_architectures(rows: Sequence[Row], seed: int) -> Split:
    """Hold back every row of 15 % of the architecture groups (or families of names)."""
    held = _some({(row.source, _architecture(row)) for row in rows}, 0.15, seed)
    return _split(
        "unseen architectures", rows, lambda _, row: (row.source, _architecture(row)) in held
    )


def new_hardware(rows: Sequence[Row], seed: int) -> Split:
    """Hold back one kind of hardware of each source, but for 20 rows of each of its set-ups."""
    chance = random.Random(seed)
    held = set()
    for source in sorted({row.source for row in rows}):
        counts = Counter(row.run.hardware.name for row in rows if row.source == source)
        total = sum(counts.values())
        enough = sorted(
            name
            for name, count in counts.items()
            if count >= 3 * FEW_SHOT and count <= MAX_HELD_BACK_SHARE * total
        )
        if enough:
            held.add((source, chance.choice(enough)))
    return _split(
        "new hardware",
        rows,
        lambda _, row: (row.source, row.run.hardware.name) in held,
        few_shot=FEW_SHOT,
    )


SPLITS: tuple[Callable[[Sequence[Row], int], Split], ...] = (
    random_rows,
    unseen_models,
    unseen_architectures,
    new_hardware,
)


def _split(
    name: str, rows: Sequence[Row], held: Callable[[int, Row], bool], few_shot: int = 0
) -> Split:
    train: list[Row] = []
    test: list[Row] = []
    for index, row in enumerate(rows):
        (test if held(index, row) else train).append(row)
    return Split(name, train, test, few_shot)


def _some(groups: set[tuple[str, str]], share: float, seed: int) -> set[tuple[str, str]]:
    """Draw a share of the groups of each source, at least one where there are several."""
    chance = random.Random(seed)
    drawn: set[tuple[str, str]] = set()
    for source in sorted({source for source, _ in groups}):
        own = sorted(name for of, name in groups if of == source)
        if len(own) > 1:
            drawn |= {
                (source, name) for name in chance.sample(own, max(1, round(share * len(own))))
            }
    return drawn


def _base(row: Row) -> str:
    """Return the model without a training tag: the same architecture has the same speed."""
    return row.run.model.name.split(".")[0]


def _architecture(row: Row) -> str:
    return row.run.model.architecture or row.run.model.name.split("-")[0]
