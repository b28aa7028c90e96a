"""The workload balancer's score: health + 0.3 for a specialist + 0.2 * free share of slots, 0 to 1.5."""

from scheduler_server.model.decision import Score
from scheduler_server.model.task import Task
from scheduler_server.model.worker import WorkerView
from scheduler_server.scorer.settings import ScorerSettings


class SpecialistScorer:
    """Health, specialization and room.

    The health score goes by heartbeat age (below 1, 5, 15 minutes: 1, 0.8, 0.5; then 0.2); below 0.5 a worker is no
    candidate. A bonus goes to workers whose specializations name the task's category. Room is `1 - running/slots`.
    """

    name = "specialist"

    def __init__(self, settings: ScorerSettings) -> None:
        self.specialization_bonus = settings.specialization_bonus
        self.health_score_floor = settings.health_score_floor
        self._room_weight = settings.room_weight

    def key(self, worker: WorkerView) -> float:
        """Health and room; the bonus is added by the index."""
        return worker.health_score + self._room_weight * (worker.free / worker.slots)

    def score(self, worker: WorkerView, task: Task, wait_ms: float, duration_ms: float) -> Score:
        """All three terms."""
        match = 1.0 if task.category and task.category in worker.specializations else 0.0
        room = worker.free / worker.slots
        return Score(
            worker.health_score + self.specialization_bonus * match + self._room_weight * room,
            (
                ("health", worker.health_score, 1.0),
                ("specialization", match, self.specialization_bonus),
                ("room", room, self._room_weight),
            ),
        )
