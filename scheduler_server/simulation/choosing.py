"""Plain choices among whoever is there, by what each is busy with: for policies in the simulator and in the shadow."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar


class Busy(Protocol):
    """Somebody with slots, and tasks that were sent there and have not ended; `index` tells equals apart."""

    @property
    def index(self) -> int:
        """Of equals the smaller one comes first."""

    @property
    def slots(self) -> int:
        """At least 1."""

    @property
    def unfinished(self) -> int:
        """Tasks, waiting ones included."""


B = TypeVar("B", bound=Busy)


def any_one(candidates: Sequence[B], draw: Callable[[], float]) -> B:
    """One drawn at random. `draw` answers 0 to below 1."""
    return candidates[int(draw() * len(candidates))]


def emptier_of_two(candidates: Sequence[B], draw: Callable[[], float]) -> B:
    """The emptier, per slot, of two drawn at random; of equals the first (Mitzenmacher, Power of Two Choices, 2001)."""
    most = len(candidates)
    one = int(draw() * most)
    if most == 1:
        return candidates[0]
    two = int(draw() * (most - 1))
    two += two >= one
    first, second = candidates[one], candidates[two]
    return second if second.unfinished * first.slots < first.unfinished * second.slots else first


def emptiest(candidates: Sequence[B]) -> B:
    """The emptiest of all, per slot (join the shortest queue)."""
    return min(candidates, key=lambda each: (each.unfinished / each.slots, each.index))
