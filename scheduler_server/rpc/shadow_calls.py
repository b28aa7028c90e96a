"""AdminService.GetShadowReport: how other policies would have done beside the live one."""

from typing import Any

import numpy as np

from scheduler_api.v1 import admin_service_pb2
from scheduler_server.model.refusal import Reason, Refusal
from scheduler_server.rpc import encode, ranges, status
from scheduler_server.rpc.checks import MAX_ITEMS, Checker
from scheduler_server.rpc.errors import Refused
from scheduler_server.rpc.paging import Turn
from scheduler_server.rpc.shadow_history import ShadowHistory
from scheduler_server.rpc.shell import Shell
from scheduler_server.shadow.comparing import LEVEL, Comparison, Difference, Stretch, by_type, compare, within
from scheduler_server.shadow.kept import Column, Rows
from scheduler_server.shadow.observing import Shadow
from scheduler_server.shadow.telling import report_text
from scheduler_server.storage.decision_log import Span
from scheduler_server.telemetry.shadow_instruments import NOTHING, ShadowFigures


class ShadowCalls:
    """The method: check the message, work the figures out policy by policy, encode the answer."""

    def __init__(self, shell: Shell, shadow: Shadow, history: ShadowHistory) -> None:
        self._shell = shell
        self._shadow = shadow
        self._history = history

    @property
    def names(self) -> tuple[str, ...]:
        """The policies that decide beside the live one."""
        return self._shadow.names

    def figures(self) -> ShadowFigures:
        """For the metrics."""
        shadow = self._shadow
        if not shadow.names:
            return NOTHING
        compared = {
            name: {"agreed": each.agreed, "differed": each.compared - each.agreed, "failed": each.failed}
            for name, each in shadow.counts.items()
        }
        return ShadowFigures(compared, shadow.dropped, shadow.skipped, shadow.waiting, shadow.spent_s)

    async def GetShadowReport(
        self, request: admin_service_pb2.GetShadowReportRequest, context: Any
    ) -> admin_service_pb2.GetShadowReportResponse:
        """The comparisons that are kept, or those of a range."""
        checker = Checker()
        checker.text("policy", request.policy)
        checker.text("task_type", request.task_type)
        span = ranges.read(checker, request.range) if request.HasField("range") else Span()
        checker.done()
        names = self._shadow.names
        if request.policy:
            if request.policy not in names:
                raise _unknown(request.policy, names)
            names = (request.policy,)
        stretch = Stretch(span.start, span.end, request.task_type)
        found: list[Comparison] = []
        first: float | None = None
        turn = Turn()
        for name in names:
            await turn.pause()  # each takes milliseconds where much is kept
            if name not in self._shadow.names:
                continue  # the configuration has changed meanwhile
            rows = within(await self._rows(name, span), stretch)
            if len(rows.types):
                began = float(rows.values[0, Column.AT])
                first = began if first is None else min(first, began)
            found.append(compare(name, rows, request.task_type))
            if request.by_task_type and not request.task_type:
                for each in by_type(name, rows, MAX_ITEMS // len(names) - 1):
                    found.append(each)
                    if turn.over():
                        await turn.pause()
        return self._response(found, span, first)

    async def _rows(self, name: str, span: Span) -> Rows:
        """What is in memory, and before it what is only in the log, where a range asks for it."""
        rows = self._shadow.rows(name)
        begins = float(rows.values[0, Column.AT]) if rows.types else self._shell.now().wall
        if span.start is None or span.start >= begins:
            return rows
        until = begins if span.end is None else min(begins, span.end)
        older = await self._history.earlier(name, Span(span.start, until), self._shadow.settings.kept)
        return Rows(np.concatenate([older.values, rows.values]), older.types + rows.types)

    def _response(
        self, found: list[Comparison], span: Span, first: float | None
    ) -> admin_service_pb2.GetShadowReportResponse:
        core, now = self._shell.core, self._shell.now().wall
        response = admin_service_pb2.GetShadowReportResponse()
        for each in found:
            _fill(response.comparisons.add(), each)
        status.policy(response.live, core, "")
        response.live.shadow_policies.extend(self._shadow.names)
        end = now if span.end is None else min(span.end, now)
        ranges.fill(response.range, Span(span.start if first is None else first, end))
        response.dropped = self._shadow.dropped
        response.text = report_text(core.scorer.name, found, self._shadow.dropped)
        return response


def _fill(message: Any, each: Comparison) -> None:
    message.policy = each.policy
    message.task_type = each.task_type
    message.decisions = each.decisions
    message.failures = each.failures
    message.judged_decisions = each.judged
    if each.agreement is not None:
        message.agreement = each.agreement
    for field, seconds in (
        ("live_mean_wait", each.live_wait_s),
        ("shadow_mean_wait", each.wait_s),
        ("live_mean_finish", each.live_finish_s),
        ("shadow_mean_finish", each.finish_s),
    ):
        if seconds is not None:
            encode.set_span(getattr(message, field), seconds)
    _estimate(message.finish_difference, each.finish_later)
    _estimate(message.wait_difference, each.wait_later)


def _estimate(message: Any, found: Difference | None) -> None:
    if found is not None:
        message.value_ms, message.low_ms, message.high_ms = found
        message.confidence_level = LEVEL


def _unknown(name: str, names: tuple[str, ...]) -> Refused:
    there = f"those that do are {', '.join(names)}" if names else "none does: shadow.policies is empty"
    message = f"policy: no policy {name!r} decides beside the live one; {there}"
    return Refused(Refusal(Reason.SHADOW_UNKNOWN, message, (("field", "policy"), ("policy", name))))
