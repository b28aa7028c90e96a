"""The specification's score: `0.4*(1 - wait/max_wait) + 0.4*(1 - load) + 0.2*priority`, 0 to 1."""

from scheduler_server.model.decision import Score
from scheduler_server.model.making import make
from scheduler_server.model.task import Task
from scheduler_server.model.worker import WorkerView
from scheduler_server.scorer.settings import ScorerSettings


class WeightedScorer:
    """Wait, load and priority, each 0-1, each with its weight; terms outside 0-1 are clipped.

    The wait and load terms are multiplied by the worker's freshness: what was heard long ago is worth less. The
    priority term is the same for every worker, so it never decides between them; it is kept because the specification's
    score has it and logs compare.
    """

    name = "weighted"
    specialization_bonus = 0.0
    health_score_floor = 0.0

    def __init__(self, settings: ScorerSettings) -> None:
        self._wait_weight = settings.wait_weight
        self._load_weight = settings.load_weight
        self._weights = (settings.wait_weight, settings.load_weight, settings.priority_weight)
        self._max_wait_ms = settings.max_wait_ms

    def key(self, worker: WorkerView) -> float:
        """Wait and load terms of a worker with a free slot."""
        return (self._wait_weight + self._load_weight * (1.0 - worker.load_now)) * worker.freshness

    def score(self, worker: WorkerView, task: Task, wait_ms: float, duration_ms: float) -> Score:
        """All three terms."""
        fresh = worker.freshness
        wait = max(0.0, 1.0 - wait_ms / self._max_wait_ms) * fresh if wait_ms else fresh
        load = (1.0 - worker.load_now) * fresh
        priority = task.priority
        by_wait, by_load, by_priority = self._weights
        scored: Score = make(
            Score,
            (
                by_wait * wait + by_load * load + by_priority * priority,
                (("wait", wait, by_wait), ("load", load, by_load), ("priority", priority, by_priority)),
            ),
        )
        return scored
