"""AdminService's decisions: one by name, and lists of them."""

import asyncio
from collections.abc import Callable
from typing import Any

from scheduler_api.v1 import admin_service_pb2, schedule_service_pb2
from scheduler_server.assignment.ledger import TaskRecord
from scheduler_server.history.history import History
from scheduler_server.model.decision import Cause, Source
from scheduler_server.model.outcome import OutcomeStatus
from scheduler_server.model.refusal import Reason, Refusal
from scheduler_server.rpc import decision_record, decode, paging, ranges
from scheduler_server.rpc.asking_history import ask, unavailable
from scheduler_server.rpc.checks import Checker
from scheduler_server.rpc.decision_record import Told
from scheduler_server.rpc.errors import Refused
from scheduler_server.rpc.paging import Position, Turn
from scheduler_server.rpc.shell import Shell
from scheduler_server.rpc.worker_query import similar
from scheduler_server.storage.decision_log import (
    ByDecision,
    ByLease,
    ByTask,
    DecisionFilter,
    LoggedDecision,
    Page,
    Span,
    Table,
)

_SOURCES = frozenset(each.value for each in Source)
_CAUSES = frozenset(each.value for each in Cause)
_OUTCOMES = frozenset(each.value for each in OutcomeStatus)
_FULL = schedule_service_pb2.EXPLANATION_VIEW_FULL
_VIEWS = frozenset(schedule_service_pb2.ExplanationView.values())

_MOST_REVISION = 2**63 - 1  # what a store can hold; revisions count up from 1, or from a second of the clock

_AT_ONCE = 100
"""Decisions read at once: a page that is full by its bytes stops at such a step. 100 with their candidates are at most
half a megabyte."""


_EXPLANATION_S = 1.0
"""What the ledger knows is not held back for longer than this for what only the log has."""


class DecisionCalls:
    """Each method: check the message, look in the ledger or ask the log beside the loop, encode the answer."""

    def __init__(self, shell: Shell, history: History, look: Callable[[], object]) -> None:
        self._shell = shell
        self._core = shell.core
        self._history = history
        self._look = look

    # ------------------------------------------------------------------ one

    async def GetDecision(
        self, request: admin_service_pb2.GetDecisionRequest, context: Any
    ) -> admin_service_pb2.GetDecisionResponse:
        """One decision, from memory while it is there."""
        which = self._which(request)
        self._look()
        record = self._remembered(which)
        told = None
        if record is not None:
            await self._shell.sure(record.lease_id)
            told = Told.live(record)
            if record.decision.incarnation != self._core.incarnation and self._history.kept:
                told = await self._with_explanation(record, told)
        else:
            told = await self._from_log(which)
        response = admin_service_pb2.GetDecisionResponse()
        decision_record.fill(response.record, told, explained=True)
        response.text = decision_record.text(told)
        return response

    @staticmethod
    def _which(request: admin_service_pb2.GetDecisionRequest) -> ByDecision | ByLease | ByTask:
        checker = Checker()
        named = request.WhichOneof("target")
        if named == "task":
            return ByTask(*decode.key(request.task, True))
        if named is None:
            checker.fault("target", "is required: decision_id, task or lease_id")
            checker.done()
        given = request.decision_id if named == "decision_id" else request.lease_id
        checker.text(named or "target", given, required=True)
        checker.done()
        return ByDecision(given) if named == "decision_id" else ByLease(given)

    def _remembered(self, which: ByDecision | ByLease | ByTask) -> TaskRecord | None:
        ledger = self._core.ledger
        if isinstance(which, ByTask):
            return ledger.find(*which)
        if isinstance(which, ByLease):
            return ledger.leases.get(which.lease_id)
        record = ledger.leases.get("l" + which.decision_id[1:])  # both have the same number of the same run
        return record if record is not None and record.decision.decision_id == which.decision_id else None

    async def _with_explanation(self, record: TaskRecord, told: Told) -> Told:
        """The journal keeps neither an explanation nor overrides: of a lease from before a restart, the log may."""
        try:
            async with asyncio.timeout(_EXPLANATION_S):
                found = await ask(self._history, lambda log: log.find(ByDecision(record.decision.decision_id)))
        except (Refused, TimeoutError):
            return told
        if found is None:
            return told
        decision = record.decision._replace(explanation=found.decision.explanation)
        logged = told.logged._replace(
            decision=decision, expected=found.expected, enqueued_at=found.enqueued_at, overrides=found.overrides
        )
        return Told(logged, told.started_at)

    async def _from_log(self, which: ByDecision | ByLease | ByTask) -> Told:
        if not self._history.kept:
            raise await self._unknown(which)
        written = await self._history.written()
        found = await ask(self._history, lambda log: log.find(which))
        if found is not None:
            return Told.kept(found)
        if not written:
            raise unavailable("it is not in what could be read, and entries wait to be written to the decision log")
        raise await self._unknown(which)

    async def _unknown(self, which: ByDecision | ByLease | ByTask) -> Refused:
        if isinstance(which, ByTask):
            message = f"no decision about task {which.task_id!r} is known, or still kept"
            about = [("tenant", which.tenant), ("task_id", which.task_id), ("attempt", str(which.attempt))]
            alike = await similar(
                (task_id for tenant, task_id in list(self._core.ledger.tasks) if tenant == which.tenant), which.task_id
            )
            if alike:
                message += "; known are " + ", ".join(map(repr, alike))
                about.append(("similar", ", ".join(alike)))
        elif isinstance(which, ByLease):
            message = f"no decision that granted lease {which.lease_id!r} is known, or still kept"
            about = [("lease_id", which.lease_id)]
        else:
            message = f"decision {which.decision_id!r} is not known, or no longer kept"
            about = [("decision_id", which.decision_id)]
        return Refused(Refusal(Reason.DECISION_UNKNOWN, message, tuple(about)))

    # ------------------------------------------------------------------ many

    async def ListDecisions(
        self, request: admin_service_pb2.ListDecisionsRequest, context: Any
    ) -> admin_service_pb2.ListDecisionsResponse:
        """Decisions from the log, newest first."""
        checker = Checker()
        wanted = _wanted(request, checker)
        size = paging.size(checker, request.page_size)
        checker.done()
        bound_to = paging.scope(self._core.incarnation, request)
        after = paging.read_token(bound_to, request.page_token)
        behind = "" if after is None else after.worker_id
        explained = request.view == _FULL
        if not behind:
            await self._history.written()
        response = admin_service_pb2.ListDecisionsResponse()
        written = 0
        turn = Turn()
        while True:
            limit = min(_AT_ONCE, size - len(response.records))
            page = await self._page(wanted, limit, behind, explained)
            for each in page.items:
                if turn.over():
                    await turn.pause()
                message = response.records.add()
                decision_record.fill(message, Told.kept(each), explained=explained)
                written += message.ByteSize()
            behind = page.next
            if not behind or len(response.records) >= size or written > paging.MAX_PAGE_BYTES:
                break
        if behind:
            response.next_page_token = paging.write_token(bound_to, Position(0, 0.0, behind))
        status = self._history.status()
        if status is not None:
            response.dropped = status.lost_by_table[Table.DECISIONS]
        return response

    async def _page(self, wanted: DecisionFilter, limit: int, behind: str, explained: bool) -> Page[LoggedDecision]:
        return await ask(
            self._history, lambda log: log.decisions(wanted, limit=limit, after=behind, candidates=explained)
        )


def _wanted(request: admin_service_pb2.ListDecisionsRequest, checker: Checker) -> DecisionFilter:
    span = ranges.read(checker, request.range) if request.HasField("range") else Span()
    for field in ("tenant", "task_type", "task_id", "worker_id", "scorer", "override_id"):
        checker.text(field, getattr(request, field))
    for field, known, names in (
        ("sources", _SOURCES, "DecisionSource"),
        ("causes", _CAUSES, "DecisionCause"),
        ("outcomes", _OUTCOMES, "OutcomeStatus"),
    ):
        for at, each in enumerate(getattr(request, field)):
            checker.choice(f"{field}[{at}]", each, known, names)
    checker.choice("view", request.view, _VIEWS, "ExplanationView")
    checker.count("policy_revision", request.policy_revision, 0, _MOST_REVISION)
    if checker.faults:
        return DecisionFilter()
    return DecisionFilter(
        span=span,
        tenant=request.tenant if request.HasField("tenant") else None,
        task_type=request.task_type,
        task_id=request.task_id,
        worker_id=request.worker_id,
        sources=tuple(map(Source, sorted(set(request.sources)))),
        causes=tuple(map(Cause, sorted(set(request.causes)))),
        outcomes=tuple(map(OutcomeStatus, sorted(set(request.outcomes)))),
        policy_revision=request.policy_revision,
        scorer=request.scorer,
        override_id=request.override_id,
    )
