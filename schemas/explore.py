"""The closed loop: what idle workers measure unasked, within what budget, and what that taught."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from schemas.base import Message, Request
from schemas.exploration import WantedBenchmark

WANTED_TYPE = "placewise.wanted.v1"

JobState = Literal["running", "done", "failed", "lost", "gave_way"]
"""What became of a benchmark that a worker was given; each sent one is in exactly one."""

BudgetUnit = Literal["runs", "s", "J"]


class ExplorationBudget(Message):
    """What exploration may take, and what of it is gone."""

    text: str = Field(description="As it was given: 50, 10min, 2kJ")
    unit: BudgetUnit
    limit: float
    spent: float = Field(description="Without what is running now")
    left: float = Field(description="With what is running now taken off as if it were spent")


class ExplorationJob(Message):
    """One benchmark that a worker was given because it is worth knowing."""

    job_id: str
    worker: str
    model: str
    hardware: str
    batch_size: int
    state: JobState
    message: str = ""
    seconds: float | None = Field(None, description="From giving it to its result")
    energy_j: float | None = Field(
        None,
        description="By the power that it told, or its worker told last; None where it tells none",
    )
    expected_gain: float = Field(
        description="Share of the total predictive uncertainty that it was expected to remove"
    )
    gain: float | None = Field(
        None,
        description="The share that went, from the ranking before it to the one after; negative "
        "if more is doubtful now. Jobs that ended between the same two rankings share it, as much "
        "as each was expected to gain. None where none came of it, or some of the cells can't be "
        "predicted yet",
    )


class ExploreRequest(Request):
    """How does exploration go?"""


class ExploreReply(Message):
    """Budget, jobs, what is wanted next, and what was gained."""

    budget: ExplorationBudget | None = Field(None, description="None where the agent explores not")
    jobs: dict[JobState, int] = Field(description="By state; they add up to `sent`")
    sent: int
    running: list[ExplorationJob]
    recent: list[ExplorationJob] = Field(description="Those that ended, the newest first")
    wanted: list[WantedBenchmark] = Field(description="What idle workers get next")
    elsewhere: list[WantedBenchmark] = Field(description="What no worker that is there can run")
    waiting: dict[str, str] = Field(description="Why a worker that is there gets nothing now")
    unsaid: dict[str, list[str]] = Field(
        {}, description="What a worker's platform does not tell, though exploration would heed it"
    )
    expected_gain: float = Field(
        description="What the jobs whose gain is known were to remove together: each its share of "
        "what those before it left, so that it stays below 1"
    )
    gain: float = Field(description="What the same jobs removed together, in the same way")
    uncertainty: float | None = Field(
        None, description="Of what workers can run, as in `active_learning_reply`"
    )


class Wanted(Message):
    """`placewise.wanted.v1`: benchmarks that no worker can run. Retained on `agents/{id}/wanted`.

    Whoever can, runs one and publishes what was measured.
    """

    benchmarks: list[WantedBenchmark]
