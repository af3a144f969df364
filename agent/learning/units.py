"""The units that metrics were measured in, and the tasks: values compare within a domain only."""

from __future__ import annotations

from dataclasses import dataclass

from agent.learning.identity import number_of


@dataclass(frozen=True, slots=True)
class Domain:
    """A metric in a unit or kind, for a task.

    Attributes:
        metric: which one, as a number.
        slot: stands for the metric and the unit.
        key: stands for all of it.
    """

    metric: int
    unit: str
    slot: int
    task: int
    key: int


class Units:
    """Gives a slot to each unit of each metric, and knows the tasks measured in it.

    Args:
        metrics: how many metrics there are.
        capacity: how many units of a metric are told apart, and tasks of a unit; the ones
            unused for longest go first.

    Attributes:
        totals: measurements of each slot; 0 for none.
    """

    def __init__(self, metrics: int, capacity: int = 16) -> None:
        self.capacity = capacity
        self.totals = [0]
        self._slots: list[dict[str, int]] = [{} for _ in range(metrics)]
        self._domains: list[dict[int, Domain]] = [{}]
        self._counts: list[dict[int, int]] = [{}]

    def slots(self, metric: int) -> list[int]:
        """Return the slots of a metric, the one unused for longest first."""
        return list(self._slots[metric].values())

    def slot(self, metric: int, unit: str) -> int:
        """Return the slot of a metric's unit; 0 when nothing was measured in it."""
        return self._slots[metric].get(unit, 0)

    def find(self, slot: int, task: int) -> Domain:
        """Return the domain of a slot and a task, or else the slot's most measured task."""
        domain = self._domains[slot].get(task)
        if domain is not None:
            return domain
        counts = self._counts[slot]
        return self._domains[slot][max(counts, key=counts.__getitem__)]

    def tasks(self, slot: int) -> list[Domain]:
        """Return the domains of a slot, one for each task."""
        return list(self._domains[slot].values())

    def add(self, metric: int, unit: str, task: int) -> tuple[Domain, bool, bool]:
        """Count one measurement.

        Returns:
            Its domain, whether the domain is new, and whether its slot stood for another unit.
        """
        slots, reused = self._slots[metric], False
        slot = slots.pop(unit, 0)
        if not slot:
            if len(slots) >= self.capacity:
                slot, reused = slots.pop(next(iter(slots))), True
                self.totals[slot], self._domains[slot], self._counts[slot] = 0, {}, {}
            else:
                slot = len(self.totals)
                self.totals.append(0)
                self._domains.append({})
                self._counts.append({})
        slots[unit] = slot
        self.totals[slot] += 1
        domains, counts = self._domains[slot], self._counts[slot]
        new = task not in domains
        if new and len(domains) >= self.capacity:
            idle = next(iter(domains))
            del domains[idle], counts[idle]
        domain = domains.pop(task, None) or _domain(metric, unit, slot, task)
        domains[task] = domain
        counts[task] = counts.get(task, 0) + 1
        return domain, new, reused


def _domain(metric: int, unit: str, slot: int, task: int) -> Domain:
    return Domain(metric, unit, slot, task, hash((metric, number_of("unit", unit), task)))
