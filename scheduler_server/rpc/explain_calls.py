"""AdminService's questions about tasks that need not exist: what would Assign answer, and who would be best?

The choice itself is looked at in one go, as Assign makes it. What has to look at every worker (another scorer, rejected
workers by id, labels that nobody has asked for) does so in slices, each worker as it is then.
"""

import time
from collections import deque
from typing import Any

from scheduler_api.v1 import admin_service_pb2, schedule_service_pb2
from scheduler_server.assignment import explanation
from scheduler_server.assignment.dry_run import DryRun
from scheduler_server.assignment.events import Look, Submit
from scheduler_server.assignment.scanning import Scan
from scheduler_server.assignment.telling import decision_text, refusal_text, shown, tried_with
from scheduler_server.model.clock import Now
from scheduler_server.model.decision import Rejection
from scheduler_server.model.refusal import Reason, Refusal
from scheduler_server.model.task import Delivery, Task
from scheduler_server.predictor import Predictor
from scheduler_server.predictor.settings import LONGEST_MS
from scheduler_server.predictor.strategies import PREDICTORS
from scheduler_server.registry.record import WorkerRecord
from scheduler_server.rpc import checks, decode, encode
from scheduler_server.rpc.checks import Checker, Faults
from scheduler_server.rpc.errors import Refused
from scheduler_server.rpc.paging import MAX_PAGE_BYTES, Turn
from scheduler_server.rpc.shell import Shell
from scheduler_server.scorer import Scorer
from scheduler_server.scorer.strategies import SCORERS

_CANDIDATES, _RANKED = 10, 100
"""How many are listed where the request does not say."""

_TAUGHT = 1_000
"""Outcomes, the latest, that a predictor is taught which is tried: far beyond what any of them remembers of a type."""

_NO_ID = "-"
_TASK = Task("", "", 1, "")


class ExplainCalls:
    """Each method: check the message, look, encode the answer. What can be refused is told by exception."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._core = shell.core

    async def ExplainAssign(
        self, request: admin_service_pb2.ExplainAssignRequest, context: Any
    ) -> admin_service_pb2.ExplainAssignResponse:
        """What would Assign answer, and why."""
        checker = Checker()
        if not request.HasField("task"):
            checker.fault("task", "is required")
        most = checker.count("max_candidates", request.max_candidates, 0, checks.MAX_ITEMS) or _CANDIDATES
        event = _event(request, checker)
        scorer = self._scorer(request.scorer)
        predictor, taught = await self._predictor(request.predictor, event.task)
        await self._look_and_fill()
        run = DryRun(self._core, event, time.perf_counter, scorer=scorer, predictor=predictor)
        scan = None
        if run.needs_scan or request.include_rejected:
            scan = await self._scan(event, run, most + 1, most if request.include_rejected else 0)
        now = self._look()
        answer = run.decide(now, most, scan if run.needs_scan else None)
        response = admin_service_pb2.ExplainAssignResponse()
        if isinstance(answer, Refusal):
            if answer.reason is Reason.INVALID_ARGUMENT:
                raise Refused(answer)
            _fill_refusal(response.refusal, answer)
            listed, room = response.rejected, most
            response.text = refusal_text(answer, event.task)
        else:
            encode.decision(response.decision, answer)
            listed = response.decision.explanation.candidates
            room = most - len(listed)
            response.text = decision_text(answer)
        if predictor is not None:
            response.text += "\n" + tried_with(predictor.name, taught, event.task)
        for override_id, effect in run.applied:
            response.overrides.add(override_id=override_id, effect=effect)
            response.text += f"\noverride {shown(override_id)}: {shown(effect)}"
        if scan is not None and request.include_rejected:
            await self._list_rejected(listed, scan.rejected[: max(0, room)], run, event.task, response)
        return response

    async def RankWorkers(
        self, request: admin_service_pb2.RankWorkersRequest, context: Any
    ) -> admin_service_pb2.RankWorkersResponse:
        """The workers for a task, best first."""
        checker = Checker()
        limit = checker.count("limit", request.limit, 0, checks.MAX_ITEMS) or _RANKED
        event = _event(request, checker)
        scorer = self._scorer(request.scorer)
        await self._look_and_fill()
        core = self._core
        run = DryRun(core, event, time.perf_counter, scorer=scorer)
        scan = None
        if run.needs_scan or request.include_rejected:
            scan = await self._scan(event, run, limit, limit if request.include_rejected else 0)
        now = self._look()
        prediction = run.prediction() if event.task.task_type else None
        if scan is not None and run.needs_scan:
            ranked, count, rejected = scan.ranked, scan.candidates, scan.rejections
        else:
            ranked, count, rejected = run.ranked(limit)
        response = admin_service_pb2.RankWorkersResponse(
            candidate_count=count, scorer=run.scorer.name, policy_revision=core.placement.policy_revision
        )
        for reason, number in rejected:
            response.rejections.add(reason=reason.value, count=number)
        if prediction is not None:
            encode.prediction(response.prediction, prediction)
        point_ms = core.settings.predictor.default_ms if prediction is None else prediction.point_ms
        turn = Turn()
        for _, record in ranked:
            if turn.over():
                await turn.pause()
            told = explanation.candidate(now, record, run.scorer, event.task, point_ms)
            encode.candidate(response.candidates.add(), told._replace(rejection=Rejection.CANDIDATE))
        if scan is not None and request.include_rejected:
            rest = scan.rejected[: limit - len(response.candidates)]
            await self._list_rejected(response.candidates, rest, run, event.task, response)
        return response

    # ------------------------------------------------------------------ every worker

    async def _scan(self, event: Submit, run: DryRun, most: int, rejected: int) -> Scan:
        scan = Scan(self._core.fleet, event, run.scorer, most, rejected, run.bounds)
        turn = Turn()
        for record in list(self._core.fleet.records.values()):
            if turn.over():
                await turn.pause()
            if record.row >= 0:
                scan.look(record)
        return scan

    async def _list_rejected(
        self, listed: Any, rejected: list[tuple[str, Rejection]], run: DryRun, task: Task, response: Any
    ) -> None:
        """Add the rejected workers; what has grown too large for a message ends early."""
        turn = Turn()
        now = self._shell.now()
        records: dict[str, WorkerRecord] = self._core.fleet.records
        written = response.ByteSize()
        for worker_id, reason in rejected:
            if turn.over():
                await turn.pause()
            record = records.get(worker_id)
            if record is None:
                continue
            message = listed.add()
            told = explanation.candidate(now, record, run.scorer, task, self._core.settings.predictor.default_ms)
            encode.candidate(message, told._replace(rejection=reason, score=None, terms=()))
            written += message.ByteSize()
            if written > MAX_PAGE_BYTES:
                return

    # ------------------------------------------------------------------ others than those in force

    def _scorer(self, name: str) -> Scorer | None:
        if not name or name == self._core.scorer.name:
            return None
        make = SCORERS.get(name)
        if make is None:
            raise _unknown("scorer", name, {*SCORERS, self._core.scorer.name}, Reason.SCORER_UNKNOWN)
        return make(self._core.settings.scorer)

    async def _predictor(self, name: str, task: Task) -> tuple[Predictor | None, int]:
        """A predictor to be tried, taught what is remembered of such tasks; and how many outcomes those were."""
        core = self._core
        if not name or name == core.predictor.name:
            return None, 0
        make = PREDICTORS.get(name)
        if make is None:
            raise _unknown("predictor", name, {*PREDICTORS, core.predictor.name}, Reason.PREDICTOR_UNKNOWN)
        turn = Turn()
        lessons: deque[tuple[Task, float]] = deque(maxlen=_TAUGHT)
        for record in list(core.ledger.leases.values()):
            if turn.over():
                await turn.pause()
            outcome = record.outcome
            if not record.taught or outcome is None or outcome.duration_ms is None:
                continue
            if record.task.task_type == task.task_type:
                speed = record.worker.speed if record.worker is not None else 1.0
                lessons.append((record.task, min(LONGEST_MS, outcome.duration_ms * speed)))
        made = make(core.settings.predictor)
        for lesson in lessons:
            if turn.over():
                await turn.pause()
            made.observe(*lesson)
        return made, len(lessons)

    # ------------------------------------------------------------------ shared

    def _look(self) -> Now:
        """The present instant, with everything brought up to it that depends on the time."""
        self._shell.handle(Look())
        return self._shell.now()

    async def _look_and_fill(self) -> None:
        """The same; and slots that are free go to those who wait for them, who come before any new task."""
        self._look()
        turn = Turn()
        while self._core.queue.unfilled:
            await turn.pause()
            self._look()


def _event(request: Any, checker: Checker) -> Submit:
    """The task as a request for it; its id may be left out, and the task itself where it is not required."""
    checker.text("scorer", request.scorer)
    if hasattr(request, "predictor"):
        checker.text("predictor", request.predictor)
    asked = schedule_service_pb2.AssignRequest(delivery=request.delivery)
    if not request.HasField("task"):
        if request.delivery not in _DELIVERIES:
            checker.fault("delivery", f"has no meaning in Delivery (got {request.delivery})")
        checker.done()
        return Submit(_TASK, Delivery.STREAM if request.delivery == Delivery.STREAM else Delivery.CALLER)
    asked.task.CopyFrom(request.task)
    named = bool(asked.task.task_id)
    if not named:
        asked.task.task_id = _NO_ID
    try:
        event = decode.submit(asked)
    except Faults as faults:
        raise Faults([*checker.faults, *faults.faults]) from None
    checker.done()
    return event if named else event._replace(task=event.task._replace(task_id=""))


def _unknown(what: str, name: str, known: set[str], reason: Reason) -> Refused:
    message = f"{what}: no {what} is called {name!r}; known are {', '.join(sorted(known))}"
    return Refused(Refusal(reason, message, (("field", what), (what, name))))


def _fill_refusal(message: Any, refusal: Refusal) -> None:
    message.SetInParent()
    if refusal.blocking is not None:
        message.blocking = refusal.blocking.value
    for reason, count in refusal.rejections:
        message.rejections.add(reason=reason.value, count=count)
    message.missing_capabilities.extend(refusal.missing_capabilities)
    message.missing_labels.extend(refusal.missing_labels)


_DELIVERIES = frozenset({0, *(each.value for each in Delivery)})
