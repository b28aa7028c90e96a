"""A fleet of real queues on a virtual clock, placed on by the whole core, and what it carried.

Workers are bare: five fields every ten seconds, never an outcome. Each runs what it was given in order of arrival,
`slots` at once at most, and keeps the rest in its own queue. With `exact`, the same workers' outcomes are reported the
moment they happen: what the ledger carries when it knows everything. A refused task is gone.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Any

from scheduler_server.assignment.effects import Reply
from scheduler_server.assignment.events import Connect, Heartbeat, ReportOutcome, Submit, Tick
from scheduler_server.assignment.settings import CoreSettings
from scheduler_server.model.outcome import Outcome, OutcomeStatus
from scheduler_server.model.task import Task
from tests.unit.assignment.rig import Rig, make_sample

SLOTS = 5
HEARTBEAT_S = 10.0
HAND_OVER_S = 0.02  # from the answer to the task's arrival at its worker

Draw = Callable[[Random], float]


def _always(span_s: float) -> tuple[float, Draw]:
    return span_s, lambda chance: span_s  # noqa: ARG005 -- the shape of a draw


DURATIONS: dict[str, tuple[float, Draw]] = {
    "0.1 s": _always(0.1),
    "1 s": _always(1.0),
    "10 s": _always(10.0),
    "exponential, 1 s": (1.0, lambda chance: chance.expovariate(1.0)),
    "exponential, 30 s": (30.0, lambda chance: chance.expovariate(1.0 / 30.0)),
}


@dataclass
class Carried:
    """What became of the offered tasks, after the warm-up."""

    offered: int = 0
    placed: int = 0
    waited_s: float = 0.0  # in the workers' queues, summed
    deepest: int = 0  # most tasks at one worker at once
    deep: int = 0  # placed tasks that found more than twice the slots at their worker
    depths: list[int] = field(default_factory=list)

    @property
    def share(self) -> float:
        return self.placed / self.offered


class _Worker:
    def __init__(self, session: int) -> None:
        self.session = session
        self.running = 0
        self.queue: deque[tuple[float, str, float]] = deque()  # arrived at, lease, lasts

    @property
    def depth(self) -> int:
        return self.running + len(self.queue)


class SampledFleet:
    """Runs one such fleet; see the module's docstring."""

    def __init__(self, duration: tuple[float, Draw], *, exact: bool, workers: int, load: float, seed: int) -> None:
        self._mean_s, self._draw = duration
        self._exact = exact
        self._rate = load * workers * SLOTS / self._mean_s
        self._chance = Random(seed)
        self._rig = Rig(CoreSettings())
        self._workers: dict[str, _Worker] = {}
        self._entries: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._tie = count()
        self._count = 0
        self.carried = Carried()
        for number in range(workers):
            self._at(self._rig.t + self._chance.random() * HEARTBEAT_S, self._connect, f"w{number}", number + 1)

    def run(self, warm_up_s: float, measured_s: float) -> Carried:
        """Offer tasks for so long; only those after the warm-up are counted."""
        rig = self._rig
        start = rig.t + HEARTBEAT_S
        counted_from, end = start + warm_up_s, start + warm_up_s + measured_s
        self._at(start, self._arrive, counted_from)
        while self._entries[0][0] < end:
            at, _, act, args = heappop(self._entries)
            while rig.core.next_deadline() <= at:
                rig.t = max(rig.t, rig.core.next_deadline())
                rig.give(Tick())
            rig.t = at
            act(*args)
        return self.carried

    def _at(self, at: float, act: Callable[..., None], *args: Any) -> None:
        heappush(self._entries, (at, next(self._tie), act, args))

    def _connect(self, worker_id: str, session: int) -> None:
        self._workers[worker_id] = _Worker(session)
        self._rig.give(Connect(session, worker_id, None, None, make_sample()))
        self._at(self._rig.t + HEARTBEAT_S, self._beat, worker_id)

    def _beat(self, worker_id: str) -> None:
        worker = self._workers[worker_id]
        sample = make_sample(queue_depth=worker.depth, timestamp_ms=int(self._rig.t * 1_000))
        self._rig.give(Heartbeat(worker.session, sample))
        self._at(self._rig.t + HEARTBEAT_S, self._beat, worker_id)

    def _arrive(self, counted_from: float) -> None:
        rig, carried = self._rig, self.carried
        self._at(rig.t + self._chance.expovariate(self._rate), self._arrive, counted_from)
        lasts = self._draw(self._chance)
        self._count += 1
        rig.give(Submit(Task("", f"t{self._count}", 1, "type")))
        reply = rig.one(Reply)
        counted = rig.t >= counted_from
        carried.offered += counted
        if reply.decision is None:
            return
        carried.placed += counted
        decision = reply.decision
        self._at(rig.t + HAND_OVER_S, self._take, decision.worker_id, decision.lease_id, lasts, counted)

    def _take(self, worker_id: str, lease_id: str, lasts: float, counted: bool) -> None:
        worker, now = self._workers[worker_id], self._rig.t
        if counted:
            self.carried.depths.append(worker.depth)
            self.carried.deep += worker.depth > 2 * SLOTS
            self.carried.deepest = max(self.carried.deepest, worker.depth + 1)
        worker.queue.append((now, lease_id, lasts))
        self._start(worker_id, worker)

    def _start(self, worker_id: str, worker: _Worker) -> None:
        while worker.queue and worker.running < SLOTS:
            arrived_at, lease_id, lasts = worker.queue.popleft()
            worker.running += 1
            self.carried.waited_s += (self._rig.t - arrived_at) if self.carried.offered else 0.0
            self._at(self._rig.t + lasts, self._finish, worker_id, lease_id, lasts)

    def _finish(self, worker_id: str, lease_id: str, lasts: float) -> None:
        worker = self._workers[worker_id]
        worker.running -= 1
        if self._exact:
            self._rig.give(ReportOutcome(lease_id, Outcome(OutcomeStatus.SUCCEEDED, lasts * 1_000.0)))
        self._start(worker_id, worker)
