"""Whose shift is long enough? For servers that are told to start nothing that would not end within its worker's shift.

Choosing stays what it is: the best is picked and checked. Who is about to leave is set aside and the next best is
picked, a few times; when many are about to leave, one pass over the columns finds the best of those who stay.
"""

from collections.abc import Callable
from math import inf

import numpy as np

from scheduler_server.assignment.effects import Effect
from scheduler_server.model.clock import Now
from scheduler_server.model.decision import Rejection
from scheduler_server.model.prediction import Prediction
from scheduler_server.registry.eligibility import EligibilityClass
from scheduler_server.registry.fleet import KEY_PER_SCORE, Fleet
from scheduler_server.registry.ranking import Counts, rejections
from scheduler_server.registry.record import WorkerRecord

_TRIES = 8
"""Workers set aside one by one, a microsecond each, before all are looked at, which takes up to half a millisecond."""

Best = Callable[[Now, EligibilityClass, str, list[Effect]], tuple[WorkerRecord | None, int]]


class WithinShift:
    """`likely`: by the P90 of a prediction, otherwise by its P50."""

    def __init__(self, fleet: Fleet, *, likely: bool) -> None:
        self._fleet = fleet
        self._likely = likely

    def _work_s(self, prediction: Prediction) -> float:
        """What it is taken to last at speed 1."""
        return (prediction.p90_ms if self._likely else prediction.p50_ms) / 1e3

    def fits(self, now: Now, record: WorkerRecord, prediction: Prediction) -> bool:
        """Would it end before the worker leaves?"""
        leaves_at = record.leaves_at
        return leaves_at == inf or now.wall + self._work_s(prediction) / record.speed <= leaves_at

    def pick(
        self,
        now: Now,
        eligible: EligibilityClass,
        prediction: Prediction,
        category: str,
        bonus: float,
        best: Best,
        out: list[Effect],
    ) -> WorkerRecord | None:
        """The best candidate that it fits; None: it fits nobody. `best` answers the best that is left."""
        aside: list[WorkerRecord] = []
        try:
            for _ in range(_TRIES):
                worker, _ = best(now, eligible, category, out)
                if worker is None or self.fits(now, worker, prediction):
                    return worker
                aside.append(worker)
                self._fleet.set_aside(worker)
            while (worker := self._masked(now, eligible, prediction, category, bonus)) is not None:
                if self.fits(now, worker, prediction):
                    return worker
                aside.append(worker)
                self._fleet.set_aside(worker)
            return None
        finally:
            for worker in aside:
                self._fleet.refresh(worker)

    def _masked(
        self, now: Now, eligible: EligibilityClass, prediction: Prediction, category: str, bonus: float
    ) -> WorkerRecord | None:
        """The best of those who stay for long enough."""
        agenda, work_s = self._fleet.agenda, self._work_s(prediction)
        found: WorkerRecord | None = None
        top = -inf
        for pool in eligible.pools:
            if pool.best == -inf:
                continue
            more = bonus * KEY_PER_SCORE if category and category in pool.profile.specializations else 0.0
            keys = np.where(agenda.staying(pool, now.wall, work_s), pool.keys[: len(pool.members)], -inf)
            pos = int(keys.argmax())
            key = float(keys[pos]) + more
            if key > top:
                top, found = key, pool.members[pos]
        return found

    def rejections(self, eligible: EligibilityClass) -> Counts:
        """The rejections, where the candidates that are left are all about to leave."""
        by_reason = dict(rejections(self._fleet, eligible))
        leaving = sum(pool.counts[Rejection.CANDIDATE] for pool in eligible.pools)
        if leaving:
            by_reason[Rejection.OFF_SHIFT] = by_reason.get(Rejection.OFF_SHIFT, 0) + leaving
        return tuple(sorted(by_reason.items()))


def within_shift(fleet: Fleet, setting: str) -> WithinShift | None:
    """By the setting of this name; None: only starts matter."""
    return None if setting == "start" else WithinShift(fleet, likely=setting == "end_p90")
