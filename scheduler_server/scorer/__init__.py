"""Who is best?

A scorer ranks workers for tasks; higher is better. It comes in two halves, because only one of them depends on the
task:

- `key` is the worker's part. It is computed once per event of that worker and kept in the index, so that choosing among
  100,000 workers compares a few numbers. Among workers with a free slot the wait is 0, so time does not change a key.
- `score` is the whole, with its terms, for one worker and one task: what the decision carries and what an explanation
  shows. Between two workers it must order as `key` does, apart from `specialization_bonus`, which the index adds by
  itself where a worker's specializations name the task's category.

Scorers are plug-ins: whatever one raises, and whatever it answers that is not a number, becomes a fallback decision
with its cause, and counts for the circuit breaker.

May import: model.
"""

from typing import Protocol

from scheduler_server.model.decision import Score
from scheduler_server.model.task import Task
from scheduler_server.model.worker import WorkerView


class Scorer(Protocol):
    """A strategy for ranking workers."""

    @property
    def name(self) -> str:
        """Stable name, as configuration and decisions give it."""

    @property
    def specialization_bonus(self) -> float:
        """Added to the score of a worker whose specializations name the task's category; 0 for none."""

    @property
    def health_score_floor(self) -> float:
        """Workers with a lower health score are no candidates; 0 for no such rule."""

    def key(self, worker: WorkerView) -> float:
        """The worker's part of the score, 0 to 8; finite."""

    def score(self, worker: WorkerView, task: Task, wait_ms: float, duration_ms: float) -> Score:
        """The score of this worker for this task, with its terms. `duration_ms` is on this worker."""
