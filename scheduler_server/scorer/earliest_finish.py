"""The worker that will be done first: the smallest wait + duration / speed."""

from scheduler_server.model.decision import Score
from scheduler_server.model.making import make
from scheduler_server.model.task import Task
from scheduler_server.model.worker import WorkerView

_HALF = 16.0
"""Speed whose key is half of the range; above the fastest group (11.3), so that every group keeps a key of its own."""


class EarliestFinishScorer:
    """The score is minus the seconds until the task would be done: 0 is best, and there is no lower end.

    Among workers with a free slot the wait is 0, so the fastest worker wins; speeds are learned per worker in 16
    groups, and within a group the one with the larger free share, then the least recently used.
    """

    name = "earliest_finish"
    specialization_bonus = 0.0
    health_score_floor = 0.0

    def key(self, worker: WorkerView) -> float:
        """Rises with speed, 0 to 1."""
        speed = worker.speed * worker.freshness
        return speed / (speed + _HALF)

    def score(self, worker: WorkerView, task: Task, wait_ms: float, duration_ms: float) -> Score:
        """Minus the predicted seconds to the end, in two terms."""
        wait, duration = wait_ms / 1_000.0, duration_ms / 1_000.0
        scored: Score = make(Score, (-(wait + duration), (("wait_s", wait, -1.0), ("duration_s", duration, -1.0))))
        return scored
