"""AdminService's history: how busy the fleet was, how good predictions were, who changed what, learning from it."""

import logging
from collections.abc import Callable
from typing import Any

from scheduler_api.v1 import admin_service_pb2
from scheduler_server.history.history import History
from scheduler_server.history.learning import PAGE, LearningInProgress
from scheduler_server.model.refusal import Reason, Refusal
from scheduler_server.predictor.forgetting import Forgets
from scheduler_server.rpc import checks, encode, paging, ranges
from scheduler_server.rpc.asking_history import ask
from scheduler_server.rpc.checks import Checker
from scheduler_server.rpc.decision_calls import DecisionCalls
from scheduler_server.rpc.errors import NotSupported, Refused
from scheduler_server.rpc.live_hour import LiveHour
from scheduler_server.rpc.paging import Position
from scheduler_server.rpc.shell import Shell
from scheduler_server.rpc.stores import Stores
from scheduler_server.rpc.worker_query import Profile
from scheduler_server.storage.decision_log import (
    AccuracyFigures,
    AccuracyQuery,
    AuditFilter,
    AuditRow,
    HistoryFilter,
    Lesson,
    Page,
    Span,
    UtilizationFigures,
    UtilizationQuery,
)

_LOG = logging.getLogger(__name__)

_SHARES = (
    "within_25_percent", "within_factor_2", "median_relative_error", "p50_coverage", "p90_coverage",
    "wait_p50_coverage", "wait_p90_coverage", "mean_relative_bias",
)  # fmt: skip


def history_calls(
    shell: Shell, stores: Stores, look: Callable[[], object], refuse_when_draining: Callable[[], None]
) -> tuple[object, ...]:
    """The classes that answer, for AdminCalls."""
    if stores.history is None:
        return ()
    return DecisionCalls(shell, stores.history, look), HistoryCalls(shell, stores.history, refuse_when_draining)


class HistoryCalls:
    """Each method: check the message, ask the log beside the loop or the hour in memory, encode the answer."""

    def __init__(self, shell: Shell, history: History, refuse_when_draining: Callable[[], None]) -> None:
        self._core = shell.core
        self._now = shell.now
        self._history = history
        self._live = LiveHour(history, shell.core.incarnation)
        self._refuse_when_draining = refuse_when_draining

    # ------------------------------------------------------------------ figures over time

    async def accuracy(self, request: admin_service_pb2.GetAccuracyRequest) -> admin_service_pb2.GetAccuracyResponse:
        """GetAccuracy with a range."""
        checker = Checker()
        checker.text("task_type", request.task_type)
        span = ranges.read(checker, request.range)
        step = ranges.step_s(checker, request)
        size = paging.size(checker, request.page_size)
        checker.done()
        ranges.limit_steps(span, step, self._now().wall)
        bound_to, behind = self._place(request)
        response = admin_service_pb2.GetAccuracyResponse()
        query = AccuracyQuery(span, step, request.task_type, request.by_task_type, request.by_predictor)
        await self._written(behind)
        whole = await ask(self._history, lambda log: log.accuracy(query._replace(step_s=0), limit=1))
        for figures in whole.items:
            _accuracy(response.overall, figures)
        page = await ask(self._history, lambda log: log.accuracy(query, limit=size, after=behind))
        for each in page.items:
            row = response.rows.add(task_type=each.task_type, predictor=each.predictor)
            ranges.fill(row.range, each.span)
            _accuracy(row.accuracy, each)
        if page.next:
            response.next_page_token = paging.write_token(bound_to, Position(0, 0.0, page.next))
        return response

    async def GetUtilization(
        self, request: admin_service_pb2.GetUtilizationRequest, context: Any
    ) -> admin_service_pb2.GetUtilizationResponse:
        """How busy the fleet was: over the last hour from memory, over a range from the log."""
        checker = Checker()
        checker.text("worker_id", request.worker_id)
        span = ranges.read(checker, request.range) if request.HasField("range") else Span()
        step = ranges.step_s(checker, request)
        size = paging.size(checker, request.page_size)
        checker.done()
        ranges.limit_steps(span, step, self._now().wall)
        if not request.HasField("range"):
            return await self._live.utilization(request, step, size)
        bound_to, behind = self._place(request)
        response = admin_service_pb2.GetUtilizationResponse()
        query = UtilizationQuery(span, step, request.worker_id, request.by_worker)
        await self._written(behind)
        whole_query = query._replace(step_s=0, by_worker=False)
        whole = await ask(self._history, lambda log: log.utilization(whole_query, limit=1))
        for figures in whole.items:
            _utilization(response.overall, figures)
        page = await ask(self._history, lambda log: log.utilization(query, limit=size, after=behind))
        for each in page.items:
            _utilization(response.rows.add(), each)
        if page.next:
            response.next_page_token = paging.write_token(bound_to, Position(0, 0.0, page.next))
        return response

    async def fill_load(self, response: admin_service_pb2.GetLoadResponse, window_s: float, profile: Profile) -> None:
        """The part of GetLoad that is about the last minute, and its spread where that is asked for over a while."""
        decisions, outcomes = self._history.sampler.rates()
        response.decisions_per_second, response.outcomes_per_second = decisions, outcomes
        if not window_s:
            return
        only = None
        if not profile.everybody:
            records = list(self._core.fleet.records.values())
            only = [each.worker_id for each in records if profile.matches(each)]
        found = await self._live.over(window_s, only)
        for name in ("spread", "max_over_mean"):
            response.ClearField(name)
            value = getattr(found, name)
            if value is not None:
                setattr(response, name, value)

    # ------------------------------------------------------------------ who changed what

    async def ListAuditEntries(
        self, request: admin_service_pb2.ListAuditEntriesRequest, context: Any
    ) -> admin_service_pb2.ListAuditEntriesResponse:
        """Audit entries, newest first."""
        checker = Checker()
        span = ranges.read(checker, request.range) if request.HasField("range") else Span()
        for field in ("author", "method", "subject_id"):
            checker.text(field, getattr(request, field))
        size = paging.size(checker, request.page_size)
        checker.done()
        bound_to, behind = self._place(request)
        wanted = AuditFilter(span, request.author, request.method, request.subject_id)
        await self._written(behind)
        response = admin_service_pb2.ListAuditEntriesResponse()
        written = 0
        while True:
            limit = min(_AT_ONCE, size - len(response.entries))
            page = await self._audit(wanted, limit, behind)
            for each in page.items:
                message = response.entries.add()
                _audit(message, each)
                written += message.ByteSize()
            behind = page.next
            if not behind or len(response.entries) >= size or written > paging.MAX_PAGE_BYTES:
                break
        if behind:
            response.next_page_token = paging.write_token(bound_to, Position(0, 0.0, behind))
        return response

    async def _audit(self, wanted: AuditFilter, limit: int, behind: str) -> Any:
        return await ask(self._history, lambda log: log.audit(wanted, limit=limit, after=behind))

    # ------------------------------------------------------------------ learning

    async def LearnFromHistory(
        self, request: admin_service_pb2.LearnFromHistoryRequest, context: Any
    ) -> admin_service_pb2.LearnFromHistoryResponse:
        """Teach the predictor what the log has."""
        checker = Checker()
        span = ranges.read(checker, request.range) if request.HasField("range") else Span()
        checker.text("task_type", request.task_type)
        checker.text("reason", request.reason, limit=checks.MAX_DETAIL)
        checker.done()
        self._refuse_when_draining()
        history, teacher = self._history, self._history.teacher
        if request.forget_first and not isinstance(self._core.predictor, Forgets):
            raise NotSupported("forget_first", f"the predictor {self._core.predictor.name} cannot forget")
        began = self._now()
        _LOG.info("the predictor is taught from history: %s", request.reason or "no reason given")
        await history.written()
        try:
            await teacher.learn(self._lessons, span, request.task_type, forget_first=request.forget_first)
        except LearningInProgress:
            message = "the predictor is being taught from history already; wait for that"
            raise Refused(Refusal(Reason.LEARNING_IN_PROGRESS, message)) from None
        response = admin_service_pb2.LearnFromHistoryResponse(
            outcomes_read=teacher.read, outcomes_learned=teacher.learned, keys=teacher.keys
        )
        encode.set_span(response.took, max(0.0, self._now().monotonic - began.monotonic))
        return response

    async def _lessons(self, which: HistoryFilter, after: str) -> Page[Lesson]:
        return await ask(self._history, lambda log: log.lessons(which, limit=PAGE, after=after))

    # ------------------------------------------------------------------ shared

    def _place(self, request: Any) -> tuple[bytes, str]:
        """What tokens of this request are bound to, and where the page before ended."""
        bound_to = paging.scope(self._core.incarnation, request)
        after = paging.read_token(bound_to, request.page_token)
        return bound_to, "" if after is None else after.worker_id

    async def _written(self, behind: str) -> None:
        """The first page has what happened just before."""
        if not behind:
            await self._history.written()


_AT_ONCE = 100
"""Audit entries read at once: three texts of 4,096 characters each are a megabyte."""


def _accuracy(message: Any, figures: AccuracyFigures) -> None:
    message.sample_count = figures.sample_count
    for name in _SHARES:
        value = getattr(figures, name)
        if value is not None:
            setattr(message, name, value)


def _utilization(message: Any, figures: UtilizationFigures) -> None:
    ranges.fill(message.range, figures.span)
    message.worker_id = figures.worker_id
    for name in ("utilization", "spread", "max_over_mean", "mean_waiting"):
        value = getattr(figures, name)
        if value is not None:
            setattr(message, name, value)
    encode.set_span(message.busy_time, figures.busy_ms / 1_000.0)
    encode.set_span(message.present_time, figures.present_ms / 1_000.0)
    message.completed = figures.completed
    message.failed = figures.failed
    if figures.mean_wait_ms is not None:
        encode.set_span(message.mean_wait, figures.mean_wait_ms / 1_000.0)
    if figures.p99_wait_ms is not None:
        encode.set_span(message.p99_wait, figures.p99_wait_ms / 1_000.0)


def _audit(message: Any, row: AuditRow) -> None:
    message.entry_id = row.entry_id
    encode.set_instant(message.at, row.at / 1e6)
    for name in ("author", "role", "peer", "method", "subject_id", "reason", "before", "after", "code", "request"):
        setattr(message, name, getattr(row, name))
