"""Which sets of needs can which pools serve? As matrices, made anew only when pools come or go."""

import numpy as np

from scheduler_server.assignment.rank import Among, Floats
from scheduler_server.registry.eligibility import ClassKey, EligibilityClass
from scheduler_server.registry.fleet import Fleet
from scheduler_server.registry.pool import Pool

Indexes = list[int]

_NONE: Floats = np.zeros((0, 0))


class Reach:
    """Sets of needs by index, and the pools that serve them.

    Invariant: after `current`, all that is answered is true of the fleet's pools. `serving[n, p]` is 1 where pool p
    serves needs n.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._needs: list[ClassKey | None] = []
        self._classes: list[EligibilityClass | None] = []
        self._shape = -1
        self._moves = -1  # of the fleet, when what depends on who is there was worked out
        self._serving = _NONE
        self._of_pool: dict[int, Indexes] = {}
        self._among: dict[int, Among] = {}
        self._slots = self._slots_of_each = np.zeros(0)

    def set(self, index: int, needs: ClassKey | None) -> None:
        """Let an index (one of those there are, or the next) stand for these needs; None: for none."""
        if index == len(self._needs):
            self._needs.append(needs)
            self._classes.append(None)
        else:
            self._needs[index] = needs
        if self._shape != self._fleet.shape:
            return  # all are to be resolved anyway
        self._classes[index] = None if needs is None else self._fleet.eligible(needs)
        if self._shape != self._fleet.shape:
            return
        if index >= len(self._serving):
            self._serving = np.vstack([self._serving, np.zeros((max(8, index), len(self._fleet.pools)))])
        self._fill(index)
        self._of_pool, self._moves = {}, -1

    def _fill(self, index: int) -> None:
        eligible = self._classes[index]
        row = self._serving[index]
        row[:] = 0.0
        if eligible is not None and eligible.pools:
            row[eligible.positions] = 1.0

    def current(self) -> None:
        """Make what is known true again after pools or needs came or went."""
        fleet = self._fleet
        if self._shape != fleet.shape:
            self._resolve()

    def _resolve(self) -> None:
        fleet = self._fleet
        while self._shape != fleet.shape:  # a label that is asked for the first time sorts the fleet anew
            self._shape = fleet.shape
            self._classes = [None if needs is None else fleet.eligible(needs) for needs in self._needs]
        self._serving = np.zeros((len(self._needs), len(fleet.pools)))
        for index in range(len(self._needs)):
            self._fill(index)
        self._of_pool, self._moves = {}, -1

    def eligible(self, index: int) -> EligibilityClass | None:
        """The pools that serve these needs; None: nobody can tell, there are too many label keys."""
        self.current()
        return self._classes[index]

    def of_pool(self, pool: Pool) -> Indexes:
        """The needs that a pool serves."""
        found = self._of_pool.get(pool.index)
        if found is None:
            found = self._of_pool[pool.index] = np.flatnonzero(self._serving[:, pool.index]).tolist()
        return found

    def row(self, index: int) -> Floats:
        """By pool, 1 where it serves these needs."""
        self.current()
        row: Floats = self._serving[index]
        return row

    def alike(self, row: Floats) -> Among:
        """As `among`, for needs that are not among these: `row` is what `Reach.row` says of them elsewhere."""
        self.current()
        slots = np.array([pool.slots for pool in self._fleet.pools], dtype=np.float64)
        of_each = self._serving @ slots
        common = self._serving @ (slots * row)
        return Among.of(np.divide(common, of_each, out=np.zeros(len(of_each)), where=of_each > 0.0))

    def among(self, index: int) -> Among:
        """By needs, the share of the slots that serve them which serve these too: of work there, so much falls here.

        Above 0 where a worker could serve both. Needs that nobody serves have to do only with themselves.
        """
        fleet = self._fleet
        if self._shape != fleet.shape:
            self._resolve()
        if self._moves != fleet.moves:
            self._moves, self._among = fleet.moves, {}
            self._slots = np.array([pool.slots for pool in fleet.pools], dtype=np.float64)
            self._slots_of_each = self._serving @ self._slots
        found = self._among.get(index)
        if found is None:
            serving, of_each = self._serving, self._slots_of_each
            common = serving @ (self._slots * serving[index])
            shares = np.divide(common, of_each, out=np.zeros(len(of_each)), where=of_each > 0.0)
            shares[index] = 1.0
            found = self._among[index] = Among.of(shares)
        return found
