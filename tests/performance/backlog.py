"""A core whose slots are all taken, with any number of tasks waiting: 64 sets of needs, 50 tenants.

What is timed is the whole event, from the call of the core to its effects: the prediction that a task's place in the
order rests on belongs to its enqueue, and the outcome, what is learned from it and the decision about the next task
belong to the slot that becomes free. With nothing waiting the same fleet shows what outcome and decision cost by
themselves.
"""

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

KINDS = ("enqueue", "slot_freed", "taking", "query")
"""With tasks waiting: one that comes and waits, a slot that the next task takes, a question. What found a free slot at
once, and a slot that nobody who waits could use, are not counted. `taking` is the part of `slot_freed` that is there
only because tasks wait: finding the one that is next, taking it out, judging what it was told."""

ALONE = ("outcome", "decision")
"""With nothing waiting: the two halves of `slot_freed`."""

CLASSES = 64
TENANTS = 50
_WORKERS = 512
_SLOTS = 4
_TYPES = 200
_SEEN = 2
"""Outcomes of every type of every tenant before anything is timed."""

_STEP_S = 1e-4
"""The clock goes on by this between events; a sweep every 10,000 of them is as rare as in a busy server."""

_WALL_S = 1_700_000_000.0


class Backlog:
    """A turn is one task that comes, one that ends and makes room for the next, and one question.

    With `waiting` 0 half of the slots are free, and there is nothing to ask. Every type of every tenant has been seen
    before, as in a server that has been up for a while.
    """

    def __init__(self, waiting: int, order: str) -> None:
        told = settings("weighted", "")
        told = replace(told, queue=QueueSettings(order=order, max_length=200_000, tenant_share=1.0))
        self._at = 1_000.0
        self.core = make_core(told, self._now(), "0badcafe")
        self._random = Random(waiting)
        self._numbers = count()
        self._held: deque[str] = deque()
        self._queued: list[tuple[str, str]] = []
        self._waiting = waiting
        self._filling = _timed(self.core.queue, "fill")
        self._placing = _timed(self.core.placement, "place_waiting")
        gc.disable()
        for at in range(_WORKERS):
            # Each kind of worker serves two sets of needs, and each set of needs is served by two kinds.
            kind = at % CLASSES
            capabilities = tuple(sorted((f"c{kind}", f"c{(kind + 1) % CLASSES}")))
            registration = Registration(capabilities=capabilities, slots=_SLOTS, reports_outcomes=True)
            self.core.handle(
                self._now(), Connect(-1 - at, f"w{at}", Epoch(f"b{at}", 1), registration, Sample(0.2, 0.2, 0, 0))
            )
        for number in range(_SEEN * _TYPES * TENANTS):
            tenant, kind = divmod(number % (_TYPES * TENANTS), _TYPES)
            task = Task(f"tenant-{tenant}", "", 1, f"type-{kind}")
            self.core.predictor.observe(task, self._duration_ms(kind))
        queue = self.core.queue.waiting
        while len(queue) < waiting or len(self._held) < _WORKERS * _SLOTS // 2:
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

    def _duration_ms(self, kind: int) -> float:
        return 20.0 * float(250.0 ** (kind / _TYPES)) * self._random.uniform(0.8, 1.25)

    def _enqueue(self) -> tuple[int, bool]:
        """Nanoseconds, and whether the task waits now."""
        event = Submit(self._task(), enqueue=True)
        now = self._now()
        started = time.perf_counter_ns()
        effects = self.core.handle(now, event)
        spent = time.perf_counter_ns() - started
        granted = self._grants(effects)
        if not granted:
            self._queued.append((event.task.tenant, event.task.task_id))
        return spent, not granted

    def _grants(self, effects: list[Any]) -> bool:
        granted = [effect.record.lease_id for effect in effects if isinstance(effect, Granted)]
        self._held.extend(granted)
        return bool(granted)

    def _slot_freed(self) -> tuple[int, bool]:
        """Nanoseconds, and whether a task that waited took the slot."""
        held = self._held
        held.rotate(self._random.randrange(len(held)))
        lease_id = held.popleft()
        kind = int(self.core.ledger.leases[lease_id].task.task_type[5:])
        event = ReportOutcome(lease_id, Outcome(OutcomeStatus.SUCCEEDED, self._duration_ms(kind)))
        now = self._now()
        started = time.perf_counter_ns()
        effects = self.core.handle(now, event)
        spent = time.perf_counter_ns() - started
        return spent, self._grants(effects)

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
        """Median microseconds of each kind of event over so many turns; see `KINDS` and `ALONE`."""
        return self._chunk(turns) if self._waiting else self._chunk_alone(turns)

    def _chunk(self, turns: int) -> Micros:
        spent: dict[str, list[int]] = {kind: [] for kind in KINDS}
        for _ in range(turns):
            took, waits = self._enqueue()
            if waits:
                spent["enqueue"].append(took)
            took, taken = self._slot_freed()
            if taken:
                spent["slot_freed"].append(took)
                spent["taking"].append(self._filling[-1] - self._placing[-1])
            self._filling.clear()
            self._placing.clear()
            spent["query"].append(self._query())
        return {kind: median(values) / 1e3 for kind, values in spent.items()}

    def _chunk_alone(self, turns: int) -> Micros:
        spent: dict[str, list[int]] = {kind: [] for kind in ALONE}
        for _ in range(turns):
            spent["outcome"].append(self._slot_freed()[0])
            spent["decision"].append(self._enqueue()[0])
        return {kind: median(values) / 1e3 for kind, values in spent.items()}


def _timed(part: Any, name: str) -> list[int]:
    """Have each call of a method note its nanoseconds."""
    method, spent = getattr(part, name), []

    def timed(*args: Any) -> Any:
        started = time.perf_counter_ns()
        found = method(*args)
        spent.append(time.perf_counter_ns() - started)
        return found

    setattr(part, name, timed)
    return spent
