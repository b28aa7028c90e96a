"""A core whose slots are all taken, with any number of tasks waiting: 64 sets of needs, 50 tenants."""

import gc
import time
from collections import deque
from dataclasses import replace
from itertools import count
from random import Random
from statistics import median
from typing import Any

from scheduler_server.app import make_core
from scheduler_server.assignment.effects import Granted
from scheduler_server.assignment.events import Connect, ReportOutcome, Submit
from scheduler_server.assignment.queue_settings import QueueSettings
from scheduler_server.model.clock import Now
from scheduler_server.model.outcome import Outcome, OutcomeStatus
from scheduler_server.model.task import Task
from scheduler_server.model.worker import Epoch, Registration, Sample
from tests.performance.decisions import Micros
from tests.performance.ours_server import settings

KINDS = ("enqueue", "slot_freed", "query")
CLASSES = 64
TENANTS = 50
_WORKERS = 512
_SLOTS = 4
_TYPES = 200
_STEP_S = 1e-4
"""The clock goes on by this between events; a sweep every 10,000 of them is as rare as in a busy server."""

_WALL_S = 1_700_000_000.0


class Backlog:
    """A turn is one task that comes, one that ends and makes room for the next, and one question."""

    def __init__(self, waiting: int, order: str) -> None:
        told = settings("weighted", "")
        told = replace(told, queue=QueueSettings(order=order, max_length=200_000, tenant_share=1.0))
        self._at = 1_000.0
        self.core = make_core(told, self._now(), "0badcafe")
        self._random = Random(waiting)
        self._numbers = count()
        self._held: deque[str] = deque()
        self._queued: list[tuple[str, str]] = []
        gc.disable()
        for at in range(_WORKERS):
            # Each kind of worker serves two sets of needs, and each set of needs is served by two kinds.
            kind = at % CLASSES
            capabilities = tuple(sorted((f"c{kind}", f"c{(kind + 1) % CLASSES}")))
            registration = Registration(capabilities=capabilities, slots=_SLOTS, reports_outcomes=True)
            self.core.handle(
                self._now(), Connect(-1 - at, f"w{at}", Epoch(f"b{at}", 1), registration, Sample(0.2, 0.2, 0, 0))
            )
        while not self.core.queue.waiting.by_task:
            self._enqueue()
        for _ in range(_WORKERS * _SLOTS + waiting):
            if len(self.core.queue.waiting) >= waiting:
                break
            self._enqueue()
        gc.enable()

    def _now(self) -> Now:
        self._at += _STEP_S
        return Now(self._at, _WALL_S + self._at)

    def _task(self) -> Task:
        number = next(self._numbers)
        kind = self._random.randrange(_TYPES)
        return Task(
            f"tenant-{self._random.randrange(TENANTS)}", f"task-{number:09d}", 1, f"type-{kind}",
            priority=self._random.choice((0.25, 0.5, 0.75)), required=(f"c{self._random.randrange(CLASSES)}",),
        )  # fmt: skip

    def _enqueue(self) -> int:
        event = Submit(self._task(), enqueue=True)
        now = self._now()
        started = time.perf_counter_ns()
        effects = self.core.handle(now, event)
        spent = time.perf_counter_ns() - started
        if not self._grants(effects):
            self._queued.append((event.task.tenant, event.task.task_id))
        return spent

    def _grants(self, effects: list[Any]) -> bool:
        granted = [effect.record.lease_id for effect in effects if isinstance(effect, Granted)]
        self._held.extend(granted)
        return bool(granted)

    def _slot_freed(self) -> int:
        held = self._held
        if not held:
            return 0
        held.rotate(self._random.randrange(len(held)))
        lease_id = held.popleft()
        kind = int(self.core.ledger.leases[lease_id].task.task_type[5:])
        outcome = Outcome(OutcomeStatus.SUCCEEDED, 20.0 * 250.0 ** (kind / _TYPES) * self._random.uniform(0.8, 1.25))
        event = ReportOutcome(lease_id, outcome)
        now = self._now()
        started = time.perf_counter_ns()
        effects = self.core.handle(now, event)
        spent = time.perf_counter_ns() - started
        self._grants(effects)
        return spent

    def _query(self) -> int:
        queued, waiting = self._queued, self.core.queue.waiting.by_task
        while True:
            at = self._random.randrange(len(queued))
            waiter = waiting.get(queued[at])
            if waiter is not None:
                break
            queued[at] = queued[-1]
            queued.pop()
        now = self._now()
        started = time.perf_counter_ns()
        self.core.queue.prospects(now, waiter)
        return time.perf_counter_ns() - started

    def chunk(self, turns: int) -> Micros:
        """Median microseconds of each kind of event over so many turns."""
        spent: dict[str, list[int]] = {kind: [] for kind in KINDS}
        for _ in range(turns):
            spent["enqueue"].append(self._enqueue())
            spent["slot_freed"].append(self._slot_freed())
            spent["query"].append(self._query())
        return {kind: median(values) / 1e3 for kind, values in spent.items()}
