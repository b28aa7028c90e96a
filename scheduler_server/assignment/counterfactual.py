"""What would have changed a decision: computed by supposing it and looking at the keys again, never guessed.

Bounded: the runner-up, one worker per reason of rejection, and for those without a free slot the best of a few.
"""

from typing import Any

import numpy as np

from scheduler_server.model.decision import Candidate, Change, ChangeKind, Rejection, Term
from scheduler_server.model.task import Task
from scheduler_server.model.worker import Health
from scheduler_server.registry.eligibility import EligibilityClass
from scheduler_server.registry.fleet import KEY_PER_SCORE, Fleet
from scheduler_server.registry.ranking import Ranked, admitted, kept_out, key_of
from scheduler_server.registry.record import WorkerRecord
from scheduler_server.scorer import Scorer

_POOLS = 16
"""Pools looked into for workers that are kept out."""

_STEP = 2.0**-17
"""Two of the steps in which keys count scores: what is ahead by this much is ahead as a key."""

_OF_NEGATIVE = 2e-4
"""The same for scores below 0, as a share of them: their keys are of another shape (see `earliest_finish`), in which
the steps of slow workers are the coarsest. A worker of a quarter of the usual speed still moves by a step."""

_BARRED = (Rejection.EXCLUDED, Rejection.CORDONED, Rejection.DRAINING)
"""What keeps a worker out by somebody's choice; that of another worker to be silent is nobody's."""


class Counterfactuals:
    """Questions about the choice of `winner`, asked before it has its lease.

    `key`, of the winner, where the scorer is not the one that the index goes by.
    """

    def __init__(
        self,
        fleet: Fleet,
        eligible: EligibilityClass,
        scorer: Scorer,
        task: Task,
        point_ms: float,
        winner: WorkerRecord,
        key: float | None = None,
    ) -> None:
        self._fleet = fleet
        self._eligible = eligible
        self._scorer = scorer
        self._task = task
        self._point_ms = point_ms
        self._winner = winner
        self._indexed = key is None
        self._key = float(winner.pool.keys[winner.pos]) + self._bonus(winner) if key is None else key

    # ------------------------------------------------------------------ the runner-up

    def runner_up(self, best: Candidate, other: WorkerRecord, next_best: Candidate) -> Change:
        """What would have let the next candidate win."""
        winner = self._winner
        if winner.free > 0 >= other.free:
            supposed = admitted(other, slots=other.occupied - other.slots + 1)
            return Change(ChangeKind.FREE_SLOT, other.worker_id, self._wins(supposed, other))
        if winner.health is Health.HEALTHY and other.health is not Health.HEALTHY:
            return Change(ChangeKind.HEALTHY, other.worker_id, self._wins(other, other, healthy=True))
        if winner.leads and not other.leads:  # it is far slower than the fleet: no term helps
            return Change(ChangeKind.TERM, other.worker_id, wins=False)
        return self._term(best, other, next_best)

    def _term(self, best: Candidate, other: WorkerRecord, next_best: Candidate) -> Change:
        """The term whose smallest change would have been enough; or the one that came nearest."""
        none = Change(ChangeKind.TERM, other.worker_id, wins=False)
        if best.score is None or next_best.score is None:
            return none
        least = best.score - next_best.score + _STEP - _OF_NEGATIVE * min(0.0, best.score)
        options = []
        for name, value, weight in self._of_the_worker(other, next_best.terms):
            needed = value + least / weight
            possible = needed <= 1.0 if weight > 0.0 else needed >= 0.0
            options.append((not possible, abs(needed - value), name, value, needed))
        if not options:
            return none
        impossible, _, name, value, needed = min(options)
        return none._replace(wins=not impossible, name=name, actual=value, needed=None if impossible else needed)

    def _of_the_worker(self, record: WorkerRecord, terms: tuple[Term, ...]) -> list[Term]:
        """Without the terms that the task alone decides: they are the same for everybody."""
        priority = 0.0 if self._task.priority > 0.5 else 1.0  # noqa: PLR2004 -- far from what it is
        try:
            others = self._scorer.score(record, self._task._replace(priority=priority), 0.0, self._lasts(record)).terms
        except Exception:  # noqa: BLE001 -- a scorer is a plug-in: then nobody can tell
            return []
        return [term for term, other in zip(terms, others, strict=False) if term[1] == other[1] and term[2]]

    # ------------------------------------------------------------------ who was no candidate

    def kept_out(self, looks: int) -> list[Change]:
        """For each reason the best of those that it kept out, had it been a candidate."""
        found = []
        for reason in (Rejection.NO_FREE_SLOT, *_BARRED):
            best = self._best_with(reason, looks)
            if best is not None:
                found.append(best)
        if not self._indexed:
            return found
        lacks = self._eligible.lacks(self._fleet.pools)
        keys = self._fleet.bests.keys[: len(lacks)]
        for reason in (Rejection.CAPABILITY, Rejection.LABEL, Rejection.OVERRIDE):
            lacking = np.flatnonzero(lacks == reason)
            if len(lacking):
                at = int(lacking[keys.take(lacking).argmax()])
                if keys[at] > -np.inf:
                    record = self._fleet.pools[at].top()
                    found.append(self._admitted(record, record, reason, float(keys[at]) + self._bonus(record)))
        return found

    def _best_with(self, reason: Rejection, looks: int) -> Change | None:
        best: tuple[float, Change] | None = None
        left = looks
        for pool in [pool for pool in self._eligible.pools[: _POOLS * _POOLS] if pool.counts[reason]][:_POOLS]:
            records = kept_out(pool, reason, left)
            left -= len(records)
            for record in records:
                slots = 0
                if reason is Rejection.NO_FREE_SLOT:
                    slots = record.occupied - record.slots + 1
                elif record.occupied >= record.slots:
                    continue
                supposed = admitted(record, slots=slots)
                key = key_of(self._fleet, supposed, self._scorer.key) + self._bonus(record)
                if best is None or key > best[0]:
                    best = key, self._admitted(supposed, record, reason, key)
            if not left:
                break
        return None if best is None else best[1]

    def _admitted(self, supposed: Any, record: WorkerRecord, reason: Rejection, key: float) -> Change:
        try:
            score: float | None = self._scorer.score(supposed, self._task, 0.0, self._lasts(record)).value
        except Exception:  # noqa: BLE001 -- a scorer is a plug-in: then there is no score to tell
            score = None
        return Change(ChangeKind.ADMITTED, record.worker_id, key > self._key, score=score, rejection=reason)

    # ------------------------------------------------------------------ shared

    def _wins(self, supposed: Any, record: WorkerRecord, *, healthy: bool | None = None) -> bool:
        return key_of(self._fleet, supposed, self._scorer.key, healthy=healthy) + self._bonus(record) > self._key

    def _bonus(self, record: WorkerRecord) -> float:
        named = bool(self._task.category) and self._task.category in record.specializations
        return self._scorer.specialization_bonus * KEY_PER_SCORE if named else 0.0

    def _lasts(self, record: WorkerRecord) -> float:
        return self._point_ms / record.speed


def by_prediction(limits: Change, ranked: Ranked, chosen: WorkerRecord) -> Change:
    """What would have made a fallback a prediction, and whom it had chosen then."""
    if not ranked:
        return limits
    return limits._replace(worker_id=ranked[0][1].worker_id, wins=ranked[0][1] is not chosen)
