"""The real core on a virtual clock, with a fleet some of whose workers fail or are slow: who gets which tasks."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from random import Random

from scheduler_server.assignment.core import Scheduler
from scheduler_server.assignment.effects import Effect, Granted, HandOver, ProbeSent, Published, Reply
from scheduler_server.assignment.events import Connect, Event, Heartbeat, Submit, Tick
from scheduler_server.assignment.settings import CoreSettings
from scheduler_server.model.clock import Now
from scheduler_server.model.fleet_event import FleetEvent, FleetEventKind
from scheduler_server.model.outcome import Outcome, OutcomeStatus
from scheduler_server.model.task import Delivery, Task
from scheduler_server.model.worker import Epoch, LeaseReport, Registration, ReportKind, RunningLease
from scheduler_server.predictor.adaptive import AdaptivePredictor
from scheduler_server.scorer.strategies import SCORERS
from tests.unit.assignment.rig import WALL_S, make_sample

_BEAT_S = 1.0
_OFFSET_S = 0.001
"""Beats are spread by it, as those of real workers are."""


@dataclass
class Worker:
    """`fails` is the share of its tasks that fail, after `fails_after_s` each; `speed` divides durations."""

    worker_id: str
    slots: int = 4
    speed: float = 1.0
    fails: float = 0.0
    fails_after_s: float = 0.005
    comes_at: float = 0.0
    prefetch: int = 0


@dataclass
class Told:
    """What became of one task."""

    number: int
    worker_id: str
    came_at: float
    started_at: float
    ended_at: float
    failed: bool

    @property
    def wait_s(self) -> float:
        """From when it came to its start."""
        return self.started_at - self.came_at

    @property
    def in_all_s(self) -> float:
        """From when it came to its end."""
        return self.ended_at - self.came_at


@dataclass
class _Busy:
    """What a worker runs and holds, oldest first."""

    running: dict[str, float] = field(default_factory=dict)
    held: list[str] = field(default_factory=list)


class FleetSim:
    """Tasks of one type come at random, at `rate` a second, last `mean_s` on average, and wait in the server.

    Workers run what they are handed in their slots, hold what is staged, and report over their stream.
    """

    def __init__(
        self,
        workers: Sequence[Worker],
        *,
        rate: float,
        mean_s: float = 1.0,
        settings: CoreSettings | None = None,
        scorer: str = "weighted",
        types: int = 1,
        fails: float = 0.0,
        seed: int = 1,
    ) -> None:
        self._chance = Random(seed)
        self._workers = {worker.worker_id: worker for worker in workers}
        self._rate, self._mean_s, self._types, self._fails = rate, mean_s, types, fails
        settings = settings or CoreSettings()
        self.t = 1_000.0
        predictor = AdaptivePredictor(settings.predictor)
        self.core = Scheduler(settings, predictor, SCORERS[scorer](settings.scorer), lambda: 0.0, "i", self._now())
        self.events: list[FleetEvent] = []
        self.tasks: list[Told] = []
        self._tie = count()
        self._due: list[tuple[float, int, str, str]] = []  # instant, tie, what, of whom
        self._busy: dict[str, _Busy] = {}
        self._sessions: dict[int, str] = {}
        self._of: dict[str, tuple[int, float]] = {}  # by lease: the task's number, when it came
        self._nonces: dict[int, str] = {}
        self._came: dict[str, float] = {}
        self._began: dict[str, float] = {}
        for at, worker in enumerate(workers):
            self._at(self.t + worker.comes_at + at * _OFFSET_S, "comes", worker.worker_id)

    def _now(self) -> Now:
        return Now(self.t, WALL_S + self.t)

    def _at(self, at: float, what: str, of: str) -> None:
        heappush(self._due, (at, next(self._tie), what, of))

    def give(self, event: Event) -> list[Effect]:
        """Hand the core one event, and let workers and clients see what came of it."""
        out = self.core.handle(self._now(), event)
        for effect in out:
            if isinstance(effect, HandOver):
                self._handed(effect)
            elif isinstance(effect, Granted):
                record = effect.record
                self._of[record.lease_id] = int(record.task.task_id[1:]), self._came[record.task.task_id]
            elif isinstance(effect, ProbeSent):
                self._nonces[effect.session] = effect.nonce
            elif isinstance(effect, Published):
                self.events.append(effect.event)
        return out

    def run(self, seconds: float, *, warm_s: float = 0.0) -> None:
        """So many seconds of arrivals, after `warm_s` whose tasks are not kept, and until the last has ended."""
        until = self.t + warm_s + seconds
        self._at(self.t + 0.1 + self._chance.expovariate(self._rate), "task", "")
        number = 0
        warm_until = self.t + warm_s
        while self.t < until or any(busy.running or busy.held for busy in self._busy.values()):
            at, _, what, of = self._due[0]
            deadline = self.core.next_deadline()
            if deadline < at:
                self.t = max(self.t, deadline)
                self.give(Tick())
                continue
            heappop(self._due)
            self.t = max(self.t, at)
            if what == "task":
                if self.t < until:
                    number += 1
                    self._submit(number)
                    self._at(self.t + self._chance.expovariate(self._rate), "task", "")
            elif what == "comes":
                self._connect(of)
            elif what == "beat":
                self._beat(of)
                self._at(self.t + _BEAT_S, "beat", of)
            else:
                self._end(of, failed=what == "fails")
        self.tasks = [told for told in self.tasks if told.came_at >= warm_until]

    # ------------------------------------------------------------------ what happens

    def _submit(self, number: int) -> None:
        task_id = f"t{number}"
        self._came[task_id] = self.t
        task = Task("", task_id, 1, f"type-{self._chance.randrange(self._types)}")
        out = self.give(Submit(task, Delivery.STREAM, enqueue=True))
        reply = next(effect for effect in out if isinstance(effect, Reply))
        assert reply.refusal is None, reply

    def _connect(self, worker_id: str) -> None:
        worker = self._workers[worker_id]
        session = len(self._sessions) + 1
        self._sessions[session] = worker_id
        self._busy[worker_id] = _Busy()
        registration = Registration(
            slots=worker.slots, accepts_tasks=True, reports_outcomes=True, prefetch=worker.prefetch
        )
        self.give(Connect(session, worker_id, Epoch("b", session), registration, make_sample()))
        self._at(self.t + _BEAT_S, "beat", worker_id)

    def _session(self, worker_id: str) -> int:
        return next(session for session, each in self._sessions.items() if each == worker_id)

    def _handed(self, effect: HandOver) -> None:
        worker_id = self._sessions[effect.session]
        self._busy[worker_id].held.append(effect.decision.lease_id)
        self._start(worker_id)

    def _start(self, worker_id: str) -> None:
        worker, busy = self._workers[worker_id], self._busy[worker_id]
        while busy.held and len(busy.running) < worker.slots:
            lease_id = busy.held.pop(0)
            busy.running[lease_id] = self.t
            self._began[lease_id] = self.t
            chance = self._chance
            lasts = chance.lognormvariate(-0.125, 0.5) * self._mean_s / worker.speed
            if chance.random() < worker.fails:
                self._at(self.t + worker.fails_after_s, "fails", f"{worker_id} {lease_id}")
            elif chance.random() < self._fails:
                self._at(self.t + lasts, "fails", f"{worker_id} {lease_id}")
            else:
                self._at(self.t + lasts, "ends", f"{worker_id} {lease_id}")

    def _end(self, of: str, *, failed: bool) -> None:
        worker_id, lease_id = of.split()
        busy = self._busy[worker_id]
        began = busy.running.pop(lease_id)
        number, came_at = self._of.pop(lease_id)
        self.tasks.append(Told(number, worker_id, came_at, began, self.t, failed))
        status = OutcomeStatus.FAILED if failed else OutcomeStatus.SUCCEEDED
        report = LeaseReport(lease_id, ReportKind.FINISHED, Outcome(status, (self.t - began) * 1e3))
        self._start(worker_id)
        self._beat(worker_id, report)

    def _beat(self, worker_id: str, *reports: LeaseReport) -> None:
        worker, busy, session = self._workers[worker_id], self._busy[worker_id], self._session(worker_id)
        running = tuple(RunningLease(lease_id, (self.t - began) * 1e3) for lease_id, began in busy.running.items())
        running += tuple(RunningLease(lease_id, None) for lease_id in busy.held)
        share = len(busy.running) / worker.slots
        sample = make_sample(
            cpu=0.8 * share,
            memory=0.5 * share,
            queue_depth=len(running),
            running=running,
            reports=reports,
            probe_nonce=self._nonces.pop(session, ""),
        )
        self.give(Heartbeat(session, sample))

    # ------------------------------------------------------------------ what came of it

    def by_worker(self, since: float = 0.0) -> Counter[str]:
        """Tasks by worker, of those that began after so many seconds."""
        return Counter(told.worker_id for told in self.tasks if told.started_at >= 1_000.0 + since)

    def of_kind(self, kind: FleetEventKind) -> list[FleetEvent]:
        """The events of a kind."""
        return [event for event in self.events if event.kind is kind]


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of them does not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]
