"""A fleet that follows the demand signal: the real core on a virtual clock, workers that come late and are drained.

The scaler is the plain one that everybody has: every ten seconds it takes the slots needed, divides them by the slots
of a worker, and starts what is missing at once; it lets workers go only where the greatest need of the last two
minutes was lower. A worker takes `start_s` from its order to its first heartbeat. One that goes is drained: it takes
nothing more, ends what it has, and leaves.
"""

from collections import deque
from heapq import heappop, heappush
from math import ceil, exp
from random import Random
from typing import NamedTuple

from scheduler_server.assignment.core import Scheduler
from scheduler_server.assignment.demand import DemandLook, Trends
from scheduler_server.assignment.demand_settings import DemandSettings
from scheduler_server.assignment.effects import Effect, Granted
from scheduler_server.assignment.events import (
    Connect,
    Disconnect,
    Event,
    Heartbeat,
    RemoveWorker,
    ReportOutcome,
    Submit,
    Tick,
)
from scheduler_server.assignment.queue_settings import QueueSettings
from scheduler_server.assignment.settings import CoreSettings
from scheduler_server.model.clock import Now
from scheduler_server.model.outcome import Outcome, OutcomeStatus
from scheduler_server.model.task import Task
from scheduler_server.model.worker import Epoch, Intent, Registration, Sample
from scheduler_server.predictor.adaptive import AdaptivePredictor
from scheduler_server.registry.settings import HealthSettings
from scheduler_server.scorer.weighted import WeightedScorer

_YEAR_S = 3e7
_WALL_S = 1_700_000_000.0
_LOOK_S = 5.0
_SCALE_S = 10.0
_DOWN_AFTER_S = 120.0
_MEANS_S = (4.0, 8.0, 16.0)
MEAN_S = sum(_MEANS_S) / len(_MEANS_S)
_SPREAD = 0.6  # log-deviation of durations within a type: a P90 of 2.2 times the median

_BY_KIND = {"scale": 0, "look": 1, "ready": 2, "end": 3, "come": 4}


class Phase(NamedTuple):
    """A while of one load, in slots that it keeps busy on average."""

    lasts_s: float
    load: float


class Figures(NamedTuple):
    """Of the tasks that came in one phase: how long they waited, in seconds; and the fleet meanwhile."""

    tasks: int
    p50_s: float
    p95_s: float
    longest_s: float
    within: float  # share that waited no longer than the target
    mean_slots: float
    mean_load: float


class Autoscaled:
    """One run. `follows` False: the fleet stays as it was in the end of the first phase."""

    def __init__(
        self, phases: tuple[Phase, ...], *, wait_s: float = 60.0, start_s: float = 30.0, slots: int = 4, seed: int = 1,
        follows: bool = True,
    ) -> None:  # fmt: skip
        self.wait_s = wait_s
        self._phases = phases
        self._start_s = start_s
        self._slots = slots
        self._chance = Random(seed)
        self._follows = follows
        # Half of the wait is for new workers to come.
        self._demand = DemandSettings(target_wait_s=max(1.0, wait_s - start_s))
        settings = CoreSettings(
            queue=QueueSettings(order="fifo", tenant_share=1.0),
            health=HealthSettings(healthy_within_s=_YEAR_S, unhealthy_after_s=_YEAR_S, remove_after_s=_YEAR_S),
        )
        self._t = 1_000.0
        predictor = AdaptivePredictor(settings.predictor)
        self.core = Scheduler(settings, predictor, WeightedScorer(settings.scorer), lambda: 0.0, "i", self._now())
        self._trends = Trends()
        self._agenda: list[tuple[float, int, int, str, str]] = []
        self._number = 0
        self._workers: dict[str, int] = {}  # those that take tasks, and their sessions
        self._going: dict[str, int] = {}
        self._starting = 0
        self._made = 0
        self._needed: deque[tuple[float, int]] = deque()
        self._came: dict[str, float] = {}
        self._lasts: dict[str, float] = {}
        self._of_phase: dict[str, int] = {}
        self._waits: list[list[float]] = [[] for _ in phases]
        self._slot_s = [0.0] * len(phases)
        self._since = self._t
        self._tasks = 0
        self.trace: list[tuple[float, int, int, int]] = []  # seconds, slots needed, slots, tasks that wait

    def _now(self) -> Now:
        return Now(self._t, _WALL_S + self._t)

    def _at(self, at: float, kind: str, what: str = "") -> None:
        self._number += 1
        heappush(self._agenda, (at, _BY_KIND[kind], self._number, kind, what))

    def _give(self, event: Event) -> list[Effect]:
        out = self.core.handle(self._now(), event)
        while self.core.queue.unfilled:
            out += self.core.handle(self._now(), Tick())
        for effect in out:
            if isinstance(effect, Granted):
                task_id = effect.record.task.task_id
                self._waits[self._of_phase[task_id]].append(self._t - self._came[task_id])
                self._at(self._t + self._lasts[task_id], "end", effect.record.lease_id)
        return out

    # ------------------------------------------------------------------ the run

    def run(self) -> list[Figures]:
        """All phases, and the end of the last task."""
        began = self._t
        for _ in range(ceil(self._phases[0].load * 1.2 / self._slots)):
            self._join()
        self._at(self._t, "come")
        self._at(self._t, "look")
        self._at(self._t + _SCALE_S, "scale")
        ends = began + sum(phase.lasts_s for phase in self._phases)
        while self._agenda:
            at, _, _, kind, what = heappop(self._agenda)
            while self.core.next_deadline() < at:
                self._t = max(self._t, self.core.next_deadline())
                self._give(Tick())
            self._count(min(at, ends) - began)
            self._t = max(self._t, at)
            if kind == "come":
                self._come(at - began, ends)
            elif kind == "end":
                self._end(what)
            elif kind == "ready":
                self._starting -= 1
                self._join()
            elif at < ends:
                (self._look if kind == "look" else self._scale)()
                self._at(at + (_LOOK_S if kind == "look" else _SCALE_S), kind)
        return [self._figures(index) for index in range(len(self._phases))]

    def _phase(self, into_s: float) -> int:
        for index, phase in enumerate(self._phases):
            if into_s < phase.lasts_s:
                return index
            into_s -= phase.lasts_s
        return len(self._phases) - 1

    def _count(self, into_s: float) -> None:
        passed = into_s - (self._since - 1_000.0)
        if passed > 0.0:
            self._slot_s[self._phase(into_s - passed / 2)] += passed * self._fleet_slots
            self._since += passed

    @property
    def _fleet_slots(self) -> int:
        return self._slots * (len(self._workers) + len(self._going))

    def _come(self, into_s: float, ends: float) -> None:
        if self._t >= ends:
            return
        index = self._phase(into_s)
        self._tasks += 1
        kind = self._chance.randrange(len(_MEANS_S))
        task_id = f"t{self._tasks}"
        mean_s = _MEANS_S[kind]
        self._lasts[task_id] = mean_s * exp(self._chance.gauss(0.0, _SPREAD) - _SPREAD**2 / 2)
        self._came[task_id], self._of_phase[task_id] = self._t, index
        self._give(Submit(Task("", task_id, 1, f"type-{kind}"), enqueue=True))
        self._at(self._t + self._chance.expovariate(self._phases[index].load / MEAN_S), "come")

    def _end(self, lease_id: str) -> None:
        record = self.core.ledger.leases[lease_id]
        worker_id, lasts_s = record.worker_id, self._lasts[record.task.task_id]
        self._give(ReportOutcome(lease_id, Outcome(OutcomeStatus.SUCCEEDED, lasts_s * 1e3)))
        if worker_id in self._going and not self.core.fleet.records[worker_id].leases:
            self._leave(worker_id)

    # ------------------------------------------------------------------ the fleet

    def _join(self) -> None:
        self._made += 1
        name = f"w{self._made}"
        self._workers[name] = self._made
        registration = Registration(slots=self._slots, reports_outcomes=True)
        self._give(Connect(self._made, name, Epoch("b", 1), registration, _sample()))

    def _leave(self, name: str) -> None:
        session = self._going.pop(name)
        self._give(Disconnect(session))
        self._give(RemoveWorker(name))

    def _look(self) -> None:
        look = DemandLook(self.core, self._demand, self._demand.target_wait_s, self._trends)
        for _ in look.steps(self._now(), note=True):
            pass
        assert look.demand is not None
        self._needed.append((self._t, look.demand.needed))
        while self._needed[0][0] < self._t - _DOWN_AFTER_S:
            self._needed.popleft()
        waiting = len(self.core.queue.waiting)
        self.trace.append((self._t - 1_000.0, look.demand.needed, self._fleet_slots, waiting))

    def _scale(self) -> None:
        if not self._follows and self._t - 1_000.0 > self._phases[0].lasts_s:
            return
        wanted = ceil(self._needed[-1][1] / self._slots)
        there = len(self._workers) + self._starting
        for _ in range(wanted - there):
            self._starting += 1
            self._at(self._t + self._start_s, "ready")
        wanted = max(1, ceil(max(needed for _, needed in self._needed) / self._slots))
        spare = len(self._workers) - wanted
        if spare > 0 and not self._starting:
            records = self.core.fleet.records
            for name in sorted(self._workers, key=lambda each: (len(records[each].leases), each))[:spare]:
                self._going[name] = self._workers.pop(name)
                depth = len(records[name].leases)
                self._give(Heartbeat(self._going[name], _sample(intent=Intent.DRAIN, queue_depth=depth)))
                if not records[name].leases:
                    self._leave(name)

    def _figures(self, index: int) -> Figures:
        waits = sorted(self._waits[index])
        phase = self._phases[index]

        def quantile(share: float) -> float:
            return waits[min(len(waits) - 1, int(share * len(waits)))]

        within = sum(each <= self.wait_s for each in waits) / len(waits)
        return Figures(
            len(waits),
            quantile(0.5),
            quantile(0.95),
            waits[-1],
            within,
            self._slot_s[index] / phase.lasts_s,
            phase.load,
        )


def _sample(*, intent: Intent = Intent.WORK, queue_depth: int = 0) -> Sample:
    return Sample(0.0, 0.0, queue_depth, 0, intent=intent)


TRIPLED = (Phase(900.0, 24.0), Phase(900.0, 72.0), Phase(900.0, 24.0))
"""Calm, three times that all at once, and calm again."""
