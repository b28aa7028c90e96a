"""What a task requires, resolved to the pools that can serve it."""

from collections import OrderedDict

import numpy as np

from scheduler_server.model.task import Pairs
from scheduler_server.registry.pool import Pool

MAX_CLASSES = 4_096
"""Distinct requirements remembered. Each costs a list of pools; the least recently new one goes when full, and coming
back costs one look at each pool."""


class EligibilityClass:
    """One set of requirements and the pools that meet it, kept current as pools come.

    `positions` holds the pools' indexes for the vectorised comparison, used where there are more than a few.
    """

    __slots__ = ("accepts_tasks", "cursor", "labels", "pools", "positions", "required")

    def __init__(self, required: tuple[str, ...], labels: Pairs, *, accepts_tasks: bool) -> None:
        self.required = frozenset(required)
        self.labels = frozenset(labels)
        self.accepts_tasks = accepts_tasks
        self.pools: list[Pool] = []
        self.positions = np.zeros(0, dtype=np.intp)
        self.cursor = (0, 0)  # round robin: which pool, and which position in it, comes next

    def serves(self, pool: Pool) -> bool:
        """Can this pool's workers do such tasks?"""
        profile = pool.profile
        return (
            self.required <= profile.capabilities
            and self.labels <= frozenset(profile.labels)
            and (profile.accepts_tasks or not self.accepts_tasks)
        )

    def add(self, pool: Pool) -> None:
        """Take in a pool that serves it."""
        self.pools.append(pool)
        self.positions = np.append(self.positions, pool.index)


ClassKey = tuple[tuple[str, ...], Pairs, bool]


class Eligibility:
    """All classes seen, and the label keys that they ask for."""

    def __init__(self) -> None:
        self.classes: OrderedDict[ClassKey, EligibilityClass] = OrderedDict()
        self.label_keys: frozenset[str] = frozenset()

    def make(self, key: ClassKey, pools: list[Pool], *, keep: bool = True) -> EligibilityClass:
        """A class not seen before, resolved over all pools; kept current from now on, unless told otherwise."""
        required, labels, accepts_tasks = key
        made = EligibilityClass(required, labels, accepts_tasks=accepts_tasks)
        for pool in pools:
            if made.serves(pool):
                made.add(pool)
        if not keep:
            return made
        self.classes[key] = made
        if len(self.classes) > MAX_CLASSES:
            self.classes.popitem(last=False)
        return made

    def pool_added(self, pool: Pool) -> None:
        """Tell every class about a new pool."""
        for known in self.classes.values():
            if known.serves(pool):
                known.add(pool)

    def rebuilt(self, pools: list[Pool]) -> None:
        """Resolve every class again, after the pools were made anew."""
        for known in self.classes.values():
            known.pools = []
            known.positions = np.zeros(0, dtype=np.intp)
            known.cursor = (0, 0)
            for pool in pools:
                if known.serves(pool):
                    known.add(pool)
