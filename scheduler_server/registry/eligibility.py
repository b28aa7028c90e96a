"""What a task requires, resolved to the pools that can serve it."""

from collections import OrderedDict
from typing import Any, NamedTuple

import numpy as np

from scheduler_server.model.decision import Cause, Rejection
from scheduler_server.model.task import Pairs
from scheduler_server.registry.pool import Pool

MAX_CLASSES = 4_096
"""Distinct requirements remembered. Each costs a list of pools; the least recently new one goes when full, and coming
back costs one look at each pool."""


class Bounds(NamedTuple):
    """What overrides say of a task's workers: they are of `pin` (an override's id; "": anybody), and none of `never`.

    `caps` bound no worker: tasks under them wait apart from others.
    """

    pin: str
    never: tuple[str, ...]
    caps: tuple[str, ...]

    def keep_out(self, pool: Pool) -> bool:
        """Are this pool's workers kept out?"""
        marks = pool.profile.marks
        return (bool(self.pin) and self.pin not in marks) or not marks.isdisjoint(self.never)


class EligibilityClass:
    """One set of requirements and the pools that meet it, kept current as pools come.

    `positions` holds the pools' indexes for the vectorised comparison, used where there are more than a few. A decision
    by prediction and score has the cause `chosen`, and `alone` where there is one candidate only.
    """

    __slots__ = (
        "_lacks", "accepts_tasks", "alone", "bounds", "chosen", "cursor", "labels", "pools", "positions", "required",
    )  # fmt: skip

    def __init__(
        self, required: tuple[str, ...], labels: Pairs, bounds: Bounds | None = None, *, accepts_tasks: bool
    ) -> None:
        self.bounds = bounds
        pinned = bounds is not None and bool(bounds.pin)
        self.chosen = Cause.OVERRIDE_PIN if pinned else Cause.BEST_SCORE
        self.alone = Cause.OVERRIDE_PIN if pinned else Cause.ONLY_CANDIDATE
        self.required = frozenset(required)
        self.labels = frozenset(labels)
        self.accepts_tasks = accepts_tasks
        self.pools: list[Pool] = []
        self.positions = np.zeros(0, dtype=np.intp)
        self.cursor = (0, 0)  # round robin: which pool, and which position in it, comes next
        self._lacks = np.zeros(0, dtype=np.uint8)

    def serves(self, pool: Pool) -> bool:
        """Can this pool's workers do such tasks?"""
        profile = pool.profile
        return (
            self.required <= profile.capabilities
            and self.labels <= frozenset(profile.labels)
            and (profile.accepts_tasks or not self.accepts_tasks)
            and (self.bounds is None or not self.bounds.keep_out(pool))
        )

    def lacking(self, pool: Pool) -> Rejection:
        """What its workers lack for such tasks; CANDIDATE: nothing."""
        profile = pool.profile
        if not self.required <= profile.capabilities:
            return Rejection.CAPABILITY
        if not self.labels <= frozenset(profile.labels):
            return Rejection.LABEL
        if self.accepts_tasks and not profile.accepts_tasks:
            return Rejection.NOT_ACCEPTING
        kept_out = self.bounds is not None and self.bounds.keep_out(pool)
        return Rejection.OVERRIDE if kept_out else Rejection.CANDIDATE

    def lacks(self, pools: list[Pool]) -> "np.ndarray[Any, np.dtype[np.uint8]]":
        """The same for every pool of the fleet, by index. Each is looked at once: what it can do does not change."""
        known = len(self._lacks)
        if known < len(pools):
            more = np.fromiter(map(self.lacking, pools[known:]), np.uint8)
            self._lacks = np.concatenate([self._lacks, more])
        return self._lacks

    def reset(self) -> None:
        """Forget all pools: they are made anew."""
        self.pools = []
        self.positions = np.zeros(0, dtype=np.intp)
        self.cursor = (0, 0)
        self._lacks = np.zeros(0, dtype=np.uint8)

    def add(self, pool: Pool) -> None:
        """Take in a pool that serves it."""
        self.pools.append(pool)
        self.positions = np.append(self.positions, pool.index)


ClassKey = tuple[tuple[str, ...], Pairs, bool] | tuple[tuple[str, ...], Pairs, bool, Bounds]
"""What is required, and how it is handed over; the bounds are there only where overrides set some."""


def bounds_of(key: ClassKey) -> Bounds | None:
    """What overrides say, if anything."""
    return key[3] if len(key) == 4 else None  # noqa: PLR2004 -- with bounds, as declared above


class Eligibility:
    """All classes seen, and the label keys that they ask for."""

    def __init__(self) -> None:
        self.classes: OrderedDict[ClassKey, EligibilityClass] = OrderedDict()
        self.label_keys: frozenset[str] = frozenset()

    def make(self, key: ClassKey, pools: list[Pool], *, keep: bool = True) -> EligibilityClass:
        """A class not seen before, resolved over all pools; kept current from now on, unless told otherwise."""
        made = EligibilityClass(key[0], key[1], bounds_of(key), accepts_tasks=key[2])
        for pool in pools:
            if made.serves(pool):
                made.add(pool)
        if not keep:
            return made
        self.classes[key] = made
        if len(self.classes) > MAX_CLASSES:
            self.classes.popitem(last=False)
        return made

    def forget(self, override_id: str) -> None:
        """Drop the classes that an override bounds: it has ended."""
        for key in [key for key in self.classes if (bounds := bounds_of(key)) and _has(bounds, override_id)]:
            del self.classes[key]

    def pool_added(self, pool: Pool) -> None:
        """Tell every class about a new pool."""
        for known in self.classes.values():
            if known.serves(pool):
                known.add(pool)

    def rebuilt(self, pools: list[Pool]) -> None:
        """Resolve every class again, after the pools were made anew."""
        for known in self.classes.values():
            known.reset()
            for pool in pools:
                if known.serves(pool):
                    known.add(pool)


def _has(bounds: Bounds, override_id: str) -> bool:
    return override_id == bounds.pin or override_id in bounds.never or override_id in bounds.caps
