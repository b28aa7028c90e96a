"""A core of any size in this process, driven by a mix of events, timed event by event and step by step."""

import asyncio
import gc
import time
from collections import deque
from collections.abc import Callable
from itertools import count
from random import Random
from statistics import median
from typing import Any

import psutil

from scheduler_api.v1 import schedule_service_pb2, task_pb2
from scheduler_server.app import make_core
from scheduler_server.assignment.effects import Reply
from scheduler_server.assignment.events import Heartbeat, ReportOutcome, Submit
from scheduler_server.assignment.state import lease_to_bytes
from scheduler_server.model.outcome import Outcome, OutcomeStatus
from scheduler_server.model.task import Task
from scheduler_server.model.worker import Sample
from scheduler_server.rpc import decode, encode
from scheduler_server.rpc.shell import LEASE, system_now
from scheduler_server.storage.journal_writer import JournalWriter
from scheduler_server.storage.memory_journal import MemoryJournal
from tests.performance import fleet
from tests.performance.ours_server import settings

UTILISATION = 0.25
"""Share of the slots that is taken while the mix runs."""

_REPEATS = 1_000

Micros = dict[str, float]


class Mix:
    """One core with its fleet. A turn is one assign, the outcome of the oldest lease, and one heartbeat.

    `most_held` bounds the leases that are out, for fleets whose leases would fill the memory.
    """

    def __init__(self, workers: int, scorer: str, most_held: int | None = None) -> None:
        self.core = make_core(settings(scorer, ""), system_now(), "0badcafe")
        self._random = Random(workers)
        self._requests = fleet.requests()
        self._tasks = [decode.submit(_named(request, "template")).task for request in self._requests]
        self._speeds = fleet.speeds(workers)
        self._numbers = count()
        self._sequences = [1] * workers
        self._held: deque[tuple[str, int, str]] = deque()
        slots = 0
        gc.disable()  # each full collection would look at all that is being made
        for at, spec in enumerate(fleet.specs(workers)):
            slots += spec.slots
            self.core.link.memories[spec.worker_id] = fleet.memory(spec)
            self.core.handle(system_now(), fleet.connect(spec, -1 - at))
        self._samples = [(spec.cpu, spec.memory) for spec in fleet.specs(workers)]
        self.loaded_rss_bytes = _rss_bytes()
        held = max(1, int(slots * UTILISATION))
        for _ in range(held if most_held is None else min(held, most_held)):
            self._hold(self.core.handle(system_now(), self._submit()))
        self.held = len(self._held)
        gc.enable()

    def _task(self) -> Task:
        number = next(self._numbers)
        return self._tasks[number % len(self._tasks)]._replace(task_id=f"task-{number:09d}")

    def _submit(self) -> Submit:
        return Submit(self._task())

    def _hold(self, effects: list[Any]) -> Reply:
        reply = next(effect for effect in effects if isinstance(effect, Reply))
        if reply.decision is None:
            raise RuntimeError(f"a task was not placed: {reply.refusal}")
        self._held.append((reply.decision.lease_id, int(reply.decision.task_type[5:]), reply.decision.worker_id))
        return reply

    def _outcome(self) -> ReportOutcome:
        lease_id, task_type, worker_id = self._held.popleft()
        seconds = fleet.duration_s(task_type, next(self._numbers), self._speeds[fleet.number_of(worker_id)])
        return ReportOutcome(lease_id, Outcome(OutcomeStatus.SUCCEEDED, seconds * 1e3))

    def _heartbeat(self) -> Heartbeat:
        at = self._random.randrange(len(self._speeds))
        self._sequences[at] += 1
        cpu, memory = self._samples[at]
        wobble = self._random.uniform(0.0, 0.1)
        record = self.core.fleet.records[fleet.worker_id(at)]
        return Heartbeat(-1 - at, Sample(round(cpu + wobble, 6), memory, len(record.leases), 0, self._sequences[at]))

    def chunk(self, turns: int) -> Micros:
        """Median microseconds of each kind of event over so many turns."""
        clock, handle = time.perf_counter_ns, self.core.handle
        spent: dict[str, list[int]] = {"assign": [], "outcome": [], "heartbeat": []}
        for _ in range(turns):
            event: Any = self._submit()
            now = system_now()
            started = clock()
            effects = handle(now, event)
            spent["assign"].append(clock() - started)
            self._hold(effects)
            for kind, event in (("outcome", self._outcome()), ("heartbeat", self._heartbeat())):
                now = system_now()
                started = clock()
                handle(now, event)
                spent[kind].append(clock() - started)
        overhead = _overhead_us()
        return {kind: max(0.0, median(values) / 1e3 - overhead) for kind, values in spent.items()}

    # ------------------------------------------------------------------ the budget, step by step

    def steps(self) -> Micros:
        """Median microseconds of each step of one Assign, and what surrounds an outcome and a heartbeat."""
        core, now = self.core, system_now()
        reply = self._hold(core.handle(now, self._submit()))
        assert reply.decision is not None
        worker = core.fleet.records[reply.decision.worker_id]
        prediction = reply.decision.prediction
        assert prediction is not None
        request = _named(self._requests[3], "task-000000017")
        wire = request.SerializeToString()
        task = self._tasks[3]
        outcome = schedule_service_pb2.OutcomeReport(lease_id=reply.decision.lease_id)
        outcome.outcome.status = task_pb2.OUTCOME_STATUS_SUCCEEDED
        outcome.outcome.duration.nanos = 123_456_789

        def choice() -> None:
            eligible = core.fleet.eligible((task.required, task.labels, False))
            assert eligible is not None
            core.fleet.best(eligible, task.category, core.scorer.specialization_bonus)
            core.scorer.score(worker, task, 0.0, prediction.point_ms)
            core.fleet.used(worker)
            core.fleet.refresh(worker)

        submits: list[int] = []
        for _ in range(_REPEATS):
            event, at = self._submit(), system_now()
            started = time.perf_counter_ns()
            effects = core.handle(at, event)
            submits.append(time.perf_counter_ns() - started)
            self._hold(effects)
            core.handle(system_now(), self._outcome())
        whole = median(submits) / 1e3 - _overhead_us()
        found = {
            "transport_parse": _timed(lambda: schedule_service_pb2.AssignRequest.FromString(wire)),
            "validate": _timed(lambda: decode.submit(request)),
            "prediction": _timed(lambda: core.predictor.predict(task)),
            "choice": _timed(choice),
            "answer": _timed(lambda: encode.assigned(reply).SerializeToString()),
            "hand_off": _hand_off(core.ledger.leases[reply.decision.lease_id]),
            "outcome_validate": _timed(lambda: decode.report(outcome, "")),
        }
        found["identity_ledger"] = max(0.0, whole - found["prediction"] - found["choice"])
        found["core_assign"] = whole
        found["added_per_assign"] = found["validate"] + whole + found["answer"] + found["hand_off"]
        return found


def _rss_bytes() -> int:
    return int(psutil.Process().memory_info().rss)


def _named(request: Any, task_id: str) -> Any:
    request.task.task_id = task_id
    return request


def _timed(what: Callable[[], Any]) -> float:
    clock = time.perf_counter_ns
    spent = []
    for _ in range(_REPEATS):
        started = clock()
        what()
        spent.append(clock() - started)
    return max(0.0, median(spent) / 1e3 - _overhead_us())


def _overhead_us() -> float:
    """What the clock itself costs."""
    clock = time.perf_counter_ns
    spent = []
    for _ in range(200):
        started = clock()
        spent.append(clock() - started)
    return median(spent) / 1e3


def _nobody_waits(_sequence: int) -> None:
    return


def _hand_off(record: Any) -> float:
    """Giving a lease to the journal, and taking it back."""
    loop = asyncio.new_event_loop()
    writer = JournalWriter(MemoryJournal(), encode=lease_to_bytes, persisted=_nobody_waits, loop=loop)
    try:
        return _timed(lambda: (writer.put(LEASE, record.lease_id, record), writer.delete(LEASE, record.lease_id)))
    finally:
        loop.run_until_complete(writer.close(5.0))
        loop.close()
