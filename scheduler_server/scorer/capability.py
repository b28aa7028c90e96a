"""The worker registry's score: `0.5*capacity + 0.3*success_rate + 0.2*speed`, 0 to 1."""

from scheduler_server.model.decision import Score
from scheduler_server.model.task import Task
from scheduler_server.model.worker import WorkerView
from scheduler_server.scorer.settings import ScorerSettings


class CapabilityScorer:
    """Free share of slots, success rate, and speed = 1 / average duration in seconds (clipped to 1).

    Worked examples of the specification: 8 of 10 free, 45 of 50 succeeded, 5 s: 0.71; 4 of 5, 10 of 10, 3 s: 0.77.
    Only successes count towards the average, so failing fast never looks like speed.
    """

    name = "capability"
    specialization_bonus = 0.0
    health_score_floor = 0.0

    def __init__(self, settings: ScorerSettings) -> None:
        self._capacity_weight = settings.capacity_weight
        self._success_weight = settings.success_weight
        self._speed_weight = settings.speed_weight

    def key(self, worker: WorkerView) -> float:
        """The whole score: nothing of it depends on the task."""
        return self._terms(worker).value

    def score(self, worker: WorkerView, task: Task, wait_ms: float, duration_ms: float) -> Score:
        """The score with its terms."""
        return self._terms(worker)

    def _terms(self, worker: WorkerView) -> Score:
        fresh = worker.freshness
        capacity = worker.free / worker.slots * fresh
        success = worker.success_rate * fresh
        speed = min(1.0, 1_000.0 / worker.average_ms) * fresh
        return Score(
            self._capacity_weight * capacity + self._success_weight * success + self._speed_weight * speed,
            (
                ("capacity", capacity, self._capacity_weight),
                ("success_rate", success, self._success_weight),
                ("speed", speed, self._speed_weight),
            ),
        )
