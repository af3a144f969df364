"""A job: which models have to be loaded in which tabs, and in which order they run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from schemas.browser import Backend, Capabilities, Circumstances, Go, Lap, ModelTask, Prepared


@dataclass(frozen=True, slots=True)
class Seat:
    """What one tab holds in a job, and which tabs may.

    Args:
        models: loaded there, in this order; laps name them by their index.
        fits: which tabs may take it, by their capabilities and label; any that offers the
            models' backends if left out.
        wanted: what `fits` asks for, in words, for the reason why a job waits in vain.
    """

    models: tuple[ModelTask, ...]
    fits: Callable[[Capabilities, str | None], bool] | None = None
    wanted: str = ""

    @property
    def backends(self) -> frozenset[Backend]:
        """What the tab has to offer."""
        return frozenset(model.backend for model in self.models)


@dataclass(frozen=True, slots=True)
class Round:
    """What runs at the same time: per seat, the models in the order in which that tab runs them.

    The next round begins when every seat of this one is done.
    """

    orders: dict[int, tuple[int, ...]]
    samples: int = 0


@dataclass(frozen=True, slots=True)
class Job:
    """Work for one tab or several, of which exactly one result counts.

    All seats are taken at once, by different tabs, and given back together. When a tab fails,
    the whole attempt is void and the job begins anew, without that tab if it was at fault.

    Args:
        id: unique among all jobs of a pool.
        seats: at least one.
        rounds: at least one; run in this order.
        samples: how many values of each output of the first run to show.
        measure_memory: whether tabs begin anew before, and tell what the job took.
        wait_seconds: how long it may wait for tabs, in all, before it is given up.
        prepare_seconds: how long loading, compiling and the first run may take.
        round_seconds: how long one round may take.
        max_attempts: how often it is begun before it is given up.
    """

    id: str
    seats: tuple[Seat, ...]
    rounds: tuple[Round, ...]
    samples: int = 1_024
    measure_memory: bool = False
    wait_seconds: float = 60.0
    prepare_seconds: float = 120.0
    round_seconds: float = 60.0
    max_attempts: int = 3

    def __post_init__(self) -> None:
        if not self.seats or not self.rounds or any(not seat.models for seat in self.seats):
            raise ValueError("a job has at least one seat, one model in each, and one round")
        for number, one in enumerate(self.rounds):
            for seat, order in one.orders.items():
                if not 0 <= seat < len(self.seats) or not order:
                    raise ValueError(f"round {number} names seat {seat}, which there is not")
                if not all(0 <= model < len(self.seats[seat].models) for model in order):
                    raise ValueError(f"round {number} names a model that seat {seat} has not")

    def go(self, attempt: int, number: int, seat: int) -> Go:
        """Return the word that begins round `number` at a seat."""
        one = self.rounds[number]
        return Go(
            job=self.id,
            attempt=attempt,
            lap=number,
            order=list(one.orders[seat]),
            samples=one.samples,
        )


@dataclass(slots=True)
class SeatResult:
    """What one tab did for a job."""

    tab: str
    label: str | None
    capabilities: Capabilities
    prepared: Prepared
    laps: list[Lap] = field(default_factory=list)

    @property
    def last(self) -> Circumstances:
        """How the tab was at the end."""
        return self.laps[-1].circumstances if self.laps else self.prepared.circumstances


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a job: the one result that counts.

    `busy_tabs` is how many tabs of the pool worked on other jobs when the first round began,
    at least: load that this job did not make itself.
    """

    job: Job
    attempt: int
    seats: tuple[SeatResult, ...]
    waited_seconds: float
    took_seconds: float
    busy_tabs: int
    setbacks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GivenUp:
    """A job that was given up. `setbacks` says what happened in each attempt."""

    job: Job
    code: str
    message: str
    setbacks: tuple[str, ...] = ()
