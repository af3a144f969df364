"""Joining the batches of a model into larger ones, where it allows that.

Most of what serving systems gain comes from this, and not from running models at the same time
(Triton's documentation: batching 3.7 times, two instances 1.5 times): the two are told apart.
"""

from __future__ import annotations

from collections.abc import Mapping

from schemas.replies import Estimates, Joined
from schemas.requests import WorkItem


def sizes(item: WorkItem) -> list[int]:
    """Return the batch sizes that are worth a look: its own, doublings of it, the largest."""
    own = item.setup.batch_size or 1
    most = min(item.max_batch_size or own, own * (item.batches or 1))
    found = [own]
    while 2 * found[-1] <= most:
        found.append(2 * found[-1])
    if most > found[-1]:
        found.append(most)
    return found


def join(item: WorkItem, predicted: Mapping[int, Estimates]) -> tuple[WorkItem, Joined | None]:
    """Return a model's batches as they are done soonest, and what was joined, if anything.

    Args:
        item: the model; its batches and the largest batch it allows.
        predicted: what one batch of each size is predicted to take alone.
    """
    own = item.setup.batch_size or 1
    items = own * (item.batches or 1)

    def lasts(size: int) -> float | None:
        estimates = predicted.get(size, {})
        latency, throughput = estimates.get("latency_ms"), estimates.get("throughput_per_s")
        each = latency.value if latency else None
        if each is None and throughput is not None:
            each = 1_000 * size / throughput.value
        return None if each is None else -(-items // size) * each

    known = {size: found for size in predicted if (found := lasts(size)) is not None}
    if own not in known:
        return item, None
    best = min(known, key=lambda size: (known[size], size))
    if best == own:
        return item, None
    batches = -(-items // best)
    setup = item.setup.model_copy(update={"batch_size": best})
    joined = item.model_copy(update={"setup": setup, "batches": batches})
    gain = known[own] / known[best]
    return joined, Joined(model=item.model.name, batch_size=best, batches=batches, gain=gain)
