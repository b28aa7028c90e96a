"""The workers one by one: for questions that the index does not answer.

Another scorer gives every worker another key, a label that no task ever asked for is not sorted by, and who is no
candidate stands in no index by id. A scan takes as long as there are workers, so whoever asks does it in slices; each
worker is judged as it is then.
"""

from collections import Counter
from heapq import heappush, heappushpop
from math import isfinite

from scheduler_server.assignment.events import Submit
from scheduler_server.model.decision import Rejection
from scheduler_server.model.task import Delivery
from scheduler_server.registry.eligibility import Bounds
from scheduler_server.registry.fleet import KEY_PER_SCORE, Fleet
from scheduler_server.registry.ranking import Counts, Ranked, key_of
from scheduler_server.registry.record import WorkerRecord
from scheduler_server.scorer import Scorer


class _Last(str):
    """An id that sorts the other way round: the heap drops the last one first."""

    __slots__ = ()

    def __lt__(self, other: str) -> bool:
        return str.__gt__(self, other)


class Scan:
    """Collects, worker by worker, the candidates with the greatest keys, and the rejected with the smallest ids.

    At most `most` of each are kept; all are counted. `bounds`: what overrides say of the task's workers.
    """

    def __init__(
        self,
        fleet: Fleet,
        event: Submit,
        scorer: Scorer,
        most: int,
        rejected: int = 0,
        bounds: Bounds | None = None,
    ) -> None:
        self._bounds = bounds
        task = event.task
        self._fleet = fleet
        self._scorer = scorer
        self._required = frozenset(task.required)
        self._labels = task.labels
        self._stream = event.delivery is Delivery.STREAM
        self._excluded = frozenset(event.excluded)
        self._category = task.category if scorer.specialization_bonus else ""
        self._most = most
        self._most_rejected = rejected
        self._ranked: list[tuple[float, int, WorkerRecord]] = []
        self._rejected: list[tuple[_Last, Rejection]] = []
        self._counts: Counter[Rejection] = Counter()
        self._looked = 0

    def lacking(self, record: WorkerRecord) -> Rejection:
        """Why the worker is no candidate, the first reason that applies; CANDIDATE: it is one."""
        registration = record.registration
        if not self._required <= set(registration.capabilities):
            return Rejection.CAPABILITY
        if not all(pair in registration.labels for pair in self._labels):
            return Rejection.LABEL
        if self._stream and not registration.accepts_tasks:
            return Rejection.NOT_ACCEPTING
        if self._bounds is not None and self._bounds.keep_out(record.pool):
            return Rejection.OVERRIDE
        return Rejection.EXCLUDED if record.worker_id in self._excluded else record.status

    def look(self, record: WorkerRecord) -> None:
        """Judge one worker."""
        reason = self.lacking(record)
        self._counts[reason] += 1
        if reason:
            if self._most_rejected:
                _keep(self._rejected, (_Last(record.worker_id), reason), self._most_rejected)
            return
        key = key_of(self._fleet, record, self._scorer.key)
        if not isfinite(key):
            return
        if self._category and self._category in record.specializations:
            key += self._scorer.specialization_bonus * KEY_PER_SCORE
        self._looked += 1
        _keep(self._ranked, (key, -self._looked, record), self._most)

    @property
    def ranked(self) -> Ranked:
        """The best candidates, best first, of those that still are."""
        best = sorted(self._ranked, reverse=True)
        return [(key, record) for key, _, record in best if record.row >= 0 and not self.lacking(record)]

    @property
    def rejected(self) -> list[tuple[str, Rejection]]:
        """The first workers by id that are no candidates."""
        return sorted((str(worker_id), reason) for worker_id, reason in self._rejected)

    @property
    def candidates(self) -> int:
        """Candidates in all."""
        return self._counts[Rejection.CANDIDATE]

    @property
    def rejections(self) -> Counts:
        """The others, by reason."""
        return tuple((reason, count) for reason, count in sorted(self._counts.items()) if reason)


def _keep(heap: list, item: object, most: int) -> None:  # type: ignore[type-arg] # of whatever is compared
    if len(heap) < most:
        heappush(heap, item)
    elif heap[0] < item:
        heappushpop(heap, item)
