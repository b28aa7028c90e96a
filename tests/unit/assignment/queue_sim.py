"""The real core on a virtual clock, with more work than slots now and then: what tasks are told, and what happens."""

from collections.abc import Callable
from heapq import heappop, heappush
from math import exp, inf
from random import Random
from typing import NamedTuple

from scheduler_server.assignment.core import Scheduler
from scheduler_server.assignment.effects import Effect, Granted, Reply
from scheduler_server.assignment.events import Connect, Event, ReportOutcome, Submit, Tick
from scheduler_server.assignment.queue_settings import QueueSettings
from scheduler_server.assignment.settings import CoreSettings
from scheduler_server.model.clock import Now
from scheduler_server.model.outcome import Outcome, OutcomeStatus
from scheduler_server.model.task import Task
from scheduler_server.model.worker import Epoch, Registration
from scheduler_server.predictor.adaptive import AdaptivePredictor
from scheduler_server.predictor.ema import EmaPredictor
from scheduler_server.registry.settings import HealthSettings
from scheduler_server.scorer.weighted import WeightedScorer
from tests.unit.assignment.rig import WALL_S, make_sample

_YEAR_S = 3e7
_WINDOW = 500
_MEANS_S = (0.5, 1.5, 4.5, 13.5)
MEAN_S = sum(_MEANS_S) / len(_MEANS_S)

DURATIONS: dict[str, Callable[[Random, float], float]] = {
    "exponential": lambda chance, mean: chance.expovariate(1.0 / mean),
    "log-normal": lambda chance, mean: mean * exp(chance.gauss(0.0, 1.0) - 0.5),
    "bimodal": lambda chance, mean: mean * (0.2 if chance.random() < 0.8 else 4.2) * chance.uniform(0.9, 1.1),
}


class Told(NamedTuple):
    """One task that waited: its number, and whether its P50 and its P90 held."""

    number: int
    held50: bool
    held90: bool


class Sim:
    """Tasks of four types arrive at random, at `load` of the capacity; a burst is a while at more than twice that."""

    def __init__(
        self, durations: str, slots: int, load: float, *, order: str = "fifo", predictor: str = "adaptive",
        classes: int = 1, bursts: bool = False, seed: int = 1,
    ) -> None:  # fmt: skip
        self.published: list[float] = []  # the coverage whenever it is that of as many new answers as it looks at
        self._chance = Random(seed)
        self._duration = DURATIONS[durations]
        self._bursts = bursts
        self._classes = classes
        settings = CoreSettings(
            queue=QueueSettings(order=order, tenant_share=1.0),
            health=HealthSettings(healthy_within_s=_YEAR_S, unhealthy_after_s=_YEAR_S, remove_after_s=_YEAR_S),
        )
        learning = (EmaPredictor if predictor == "ema" else AdaptivePredictor)(settings.predictor)
        self._t = 1_000.0
        self.core = Scheduler(settings, learning, WeightedScorer(settings.scorer), lambda: 0.0, "i", self._now())
        for at in range(slots // 4):  # of several kinds of worker, each serves its own tasks and those of kind 0
            capabilities = tuple(sorted({"c0", f"c{at % classes}"}))
            registration = Registration(capabilities=capabilities, slots=4, reports_outcomes=True)
            self._give(Connect(-1 - at, f"w{at}", Epoch("b", at + 1), registration, make_sample()))
        self._rate = load * slots / MEAN_S
        self._period_s = 200.0 * MEAN_S / slots**0.5
        self._ends: list[tuple[float, str, float]] = []
        self._promised: dict[str, tuple[int, float, float]] = {}
        self.told: list[Told] = []

    def _now(self) -> Now:
        return Now(self._t, WALL_S + self._t)

    def _give(self, event: Event) -> list[Effect]:
        out = self.core.handle(self._now(), event)
        expected = self.core.queue.expected
        coverage = expected.coverage()[1]
        if expected.judged >= _WINDOW * (len(self.published) + 1) and coverage is not None:
            self.published.append(coverage)
        return out

    def run(self, tasks: int) -> list[Told]:
        """So many tasks, to the end of the last."""
        chance = self._chance
        next_at = self._t + chance.expovariate(self._rate)
        number = 0
        while number < tasks or self._ends:
            comes = next_at if number < tasks else inf
            ends = self._ends[0][0] if self._ends else inf
            self._t = max(self._t, min(comes, ends, self.core.next_deadline()))
            if comes <= self._t:
                number += 1
                self._come(number)
                burst = self._bursts and int(self._t / self._period_s) % 4 == 0
                rate = self._rate * (2.2 if burst else 0.6 if self._bursts else 1.0)
                next_at = self._t + chance.expovariate(rate)
            elif ends <= self._t:
                _, lease_id, lasts = heappop(self._ends)
                self._started(self._give(ReportOutcome(lease_id, Outcome(OutcomeStatus.SUCCEEDED, lasts * 1e3))))
            else:
                self._started(self._give(Tick()))
        return self.told

    def _come(self, number: int) -> None:
        kind = self._chance.randrange(len(_MEANS_S))
        required = (f"c{self._chance.randrange(self._classes)}",)
        out = self._give(Submit(Task("", f"t{number}", 1, f"type-{kind}", required=required), enqueue=True))
        reply = next(effect for effect in out if isinstance(effect, Reply))
        waiting = reply.waiting
        if waiting is not None and waiting.start_p50 is not None and waiting.start_p90 is not None:
            self._promised[f"t{number}"] = (number, waiting.start_p50, waiting.start_p90)
        self._started(out)

    def _started(self, out: list[Effect]) -> None:
        for effect in out:
            if not isinstance(effect, Granted):
                continue
            task = effect.record.task
            lasts = self._duration(self._chance, _MEANS_S[int(task.task_type[5:])])
            heappush(self._ends, (self._t + lasts, effect.record.lease_id, lasts))
            promised = self._promised.pop(task.task_id, None)
            if promised is not None:
                number, p50, p90 = promised
                wall = self._now().wall
                self.told.append(Told(number, wall <= p50, wall <= p90))
