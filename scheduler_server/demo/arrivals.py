"""Which tasks come, how large, and when: a stream with bursts, the same for the same seed.

Most tasks come one by one: given how many come within the span, the instants of a Poisson process are as many uniform
draws, sorted. The others come in bursts, as when somebody hands in a batch, and for a while there are more tasks than
slots. Sizes are log-normal within a task type, then all are scaled so that the work in the stream is `LOAD` of what the
fleet can do in the span: the load is exact, whatever the draws.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from scheduler_server.demo.work import KINDS, Kind

LOAD = 0.85  # of the fleet's capacity: busy, and still to be served by whoever places well
BURSTS = 0.4  # of the tasks come in bursts
BURST_EVERY_S = 2.5  # in the middle: at that load a queue of a burst is gone before the next one comes
BURST_S = 0.2  # a burst's tasks come within this
FIRST_BURST = 0.15  # of the span goes by before: what is told of the first would be about a server that knows nothing
CUTS = 8  # rounds of cutting the largest down to size; what is left of the error then is below a per cent
LARGEST = 0.25  # of the span, per task: one task must not be the whole measurement


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One task to come: when (seconds from the start), what, how much of it (seconds at speed 1, units of work)."""

    number: int
    at_s: float
    kind: Kind
    nominal_s: float
    units: int
    priority: float


def chunks(seed: int) -> Mapping[str, bytes]:
    """One chunk of data per task type."""
    return {kind.task_type: kind.chunk(Random(f"{seed}/{kind.task_type}")) for kind in KINDS}


def waiting_ratio(kinds: Sequence[Kind] = KINDS) -> float:
    """Share of all work that only waits."""
    work = {kind: kind.share * kind.mean for kind in kinds}
    return sum(work[kind] for kind in kinds if kind.unit is None) / sum(work.values())


def plan(seed: int, tasks: int, span_s: float, capacity: float, unit_s: Mapping[str, float]) -> list[Item]:
    """The stream.

    Args:
        seed: Makes the draws.
        tasks: How many.
        span_s: All arrive within this time.
        capacity: Seconds of work at speed 1 that the fleet does per second.
        unit_s: Seconds that a unit of each task type takes at speed 1.
    """
    random = Random(seed)
    at = _instants(random, tasks, span_s)
    kinds = random.choices(KINDS, [kind.share for kind in KINDS], k=tasks)
    sizes = [kind.mean * math.exp(random.gauss(-(kind.spread**2) / 2, kind.spread)) for kind in kinds]
    priorities = [random.choice((0.2, 0.5, 0.5, 0.9)) for _ in range(tasks)]
    sizes = _scaled(sizes, to=LOAD * capacity * span_s, largest=LARGEST * span_s)
    items = []
    for number in range(tasks):
        kind = kinds[number]
        unit = unit_s[kind.task_type]
        units = max(1, round(sizes[number] / unit))
        items.append(
            Item(
                number=number,
                at_s=at[number],
                kind=kind,
                nominal_s=units * unit,
                units=units,
                priority=priorities[number],
            )
        )
    return items


def _instants(random: Random, tasks: int, span_s: float) -> list[float]:
    """When tasks come: one by one, and in bursts, one at some instant of each stretch of the span."""
    bursts = max(1, round(span_s / BURST_EVERY_S))
    first_s = FIRST_BURST * span_s
    stretch_s = (span_s - first_s - BURST_S) / bursts
    begins = [first_s + (number + random.random()) * stretch_s for number in range(bursts)]
    together = round(BURSTS * tasks)
    at = [random.uniform(0.0, span_s) for _ in range(tasks - together)]
    at += [begins[number % bursts] + random.uniform(0.0, BURST_S) for number in range(together)]
    return sorted(at)


def _scaled(sizes: Sequence[float], *, to: float, largest: float) -> list[float]:
    """Sizes of that sum, none above the largest: what is cut off there goes to the others, as far as it can."""
    scaled = list(sizes)
    for _ in range(CUTS):
        scale = to / sum(scaled)
        scaled = [min(size * scale, largest) for size in scaled]
    return scaled
