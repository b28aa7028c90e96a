"""The fleet and the choice a second time, deliberately plain: loops over everyone, the formulas as written.

It is told the same events as the real core and predicts, for each submitted task, which workers could have been chosen
and how the others are counted. It shares no code with the registry, the scorers or placement.
"""

from dataclasses import dataclass, field
from math import floor

SCORE_STEPS = 2**18  # scores closer than this are equal to the real index
SHARE_STEPS = 127

HEALTHY_WITHIN_S = 30.0
REMOVE_AFTER_S = 300.0


@dataclass
class PlainWorker:
    worker_id: str
    capabilities: frozenset[str]
    specializations: frozenset[str]
    labels: dict[str, str]
    slots: int
    accepts: bool = False
    session: int | None = None
    leases: set[str] = field(default_factory=set)
    background: int = 0
    stopping: int = 0  # of the background: cancelled, and its worker has not spoken since
    at_sample: int = 0  # slots that the last sample accounts for
    load: float = 0.0
    degraded: bool = False
    draining: bool = False
    last_seen: float = 0.0
    last_used: int = 0
    completed: int = 0
    failed: int = 0
    average_ms: float = 0.0
    speed: float = 1.0  # told by the real one: learning speed is tested elsewhere

    @property
    def occupied(self) -> int:
        return len(self.leases) + self.background

    @property
    def free(self) -> int:
        return self.slots - self.occupied

    def age(self, now: float) -> float:
        return now - self.last_seen

    def freshness(self, now: float) -> float:
        age = self.age(now)
        return 1.0 if age <= 15.0 else 0.9 if age <= 25.0 else 0.75

    def load_now(self) -> float:
        return min(1.0, self.load + max(0, self.occupied - self.at_sample) / self.slots)

    def rejection(self, now: float) -> str:
        """What keeps it out for itself, whatever the task; empty for nothing."""
        if self.session is None:
            return "DISCONNECTED"
        if self.age(now) > HEALTHY_WITHIN_S:
            return "UNHEALTHY"
        if self.draining:
            return "DRAINING"
        return "" if self.free > 0 else "NO_FREE_SLOT"


@dataclass
class PlainTask:
    required: frozenset[str]
    excluded: frozenset[str]
    labels: dict[str, str]
    category: str
    stream: bool


def score(scorer: str, worker: PlainWorker, task: PlainTask, now: float) -> float:
    """The part of the score that differs between workers."""
    fresh = worker.freshness(now)
    if scorer == "weighted":
        return (0.4 * 1.0 + 0.4 * (1.0 - worker.load_now())) * fresh
    if scorer == "capability":
        ended = worker.completed + worker.failed
        rate = worker.completed / ended if ended else 1.0
        speed = min(1.0, 1.0 / ((worker.average_ms or 5_000.0) / 1_000.0))
        return (0.5 * worker.free / worker.slots + 0.3 * rate + 0.2 * speed) * fresh
    if scorer == "specialist":
        match = 0.3 if task.category and task.category in worker.specializations else 0.0
        return 1.0 + match + 0.2 * worker.free / worker.slots  # candidates are below a minute old here
    return worker.speed * fresh / (worker.speed * fresh + 16.0)


def rank(scorer: str, worker: PlainWorker, task: PlainTask, now: float) -> tuple[int, int, int, int]:
    """What the choice compares, most significant first: tier, score, free share, how long unused."""
    steps = floor(score(scorer, worker, task, now) * SCORE_STEPS)
    return (0 if worker.degraded else 1, steps, worker.free * SHARE_STEPS // worker.slots, -worker.last_used)


class PlainFleet:
    """Everyone, by id."""

    def __init__(self) -> None:
        self.workers: dict[str, PlainWorker] = {}
        self.grants = 0

    def refusal(self, worker: PlainWorker, task: PlainTask, now: float) -> str:
        """The first reason why a worker cannot take a task; empty for none."""
        if not task.required <= worker.capabilities:
            return "CAPABILITY"
        if any(worker.labels.get(name) != value for name, value in task.labels.items()):
            return "LABEL"
        if task.stream and not worker.accepts:
            return "NOT_ACCEPTING"
        if worker.worker_id in task.excluded:
            return "EXCLUDED"
        return worker.rejection(now)

    def candidates(self, task: PlainTask, now: float) -> list[PlainWorker]:
        return [worker for worker in self.workers.values() if not self.refusal(worker, task, now)]

    def best(self, scorer: str, task: PlainTask, now: float) -> tuple[int, int, int, int] | None:
        """The greatest rank among the candidates."""
        return max((rank(scorer, worker, task, now) for worker in self.candidates(task, now)), default=None)

    def refusals(self, task: PlainTask, now: float) -> dict[str, int]:
        counts: dict[str, int] = {}
        for worker in self.workers.values():
            why = self.refusal(worker, task, now)
            if why:
                counts[why] = counts.get(why, 0) + 1
        return counts

    def grant(self, worker_id: str, lease_id: str) -> None:
        self.grants += 1
        worker = self.workers[worker_id]
        worker.last_used = self.grants
        worker.leases.add(lease_id)

    def end(self, worker_id: str, lease_id: str) -> None:
        self.workers[worker_id].leases.discard(lease_id)
