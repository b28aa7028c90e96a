"""How good predictions were, as operators see it. Messages are `Any`: generated code is not for the core's eyes."""

from heapq import nsmallest
from typing import Any

from scheduler_api.v1 import admin_service_pb2
from scheduler_server.assignment.accuracy import Accuracy, Figures
from scheduler_server.assignment.expected_start import ExpectedStarts
from scheduler_server.rpc import paging
from scheduler_server.rpc.checks import Checker
from scheduler_server.rpc.paging import Position, Turn


async def fill(
    response: admin_service_pb2.GetAccuracyResponse,
    request: admin_service_pb2.GetAccuracyRequest,
    accuracy: Accuracy,
    incarnation: str,
) -> None:
    """Fill a GetAccuracyResponse with the rolling figures; rows are sorted by type."""
    checker = Checker()
    checker.text("task_type", request.task_type)
    size = paging.size(checker, request.page_size)
    for field in ("step", "by_predictor"):
        given = request.HasField("step") if field == "step" else request.by_predictor
        if given:
            checker.fault(field, "goes only with range")
    checker.done()
    bound_to = paging.scope(incarnation, request)
    after = paging.read_token(bound_to, request.page_token)
    one_type = request.task_type
    figures(response.overall, accuracy.of_type(one_type) if one_type else accuracy.overall())
    if not request.by_task_type:
        return
    names = [one_type] if one_type else accuracy.types()
    start = "" if after is None else after.worker_id
    rows = nsmallest(size + 1, (name for name in names if name > start))
    turn = Turn()
    for name in rows[:size]:
        if turn.over():
            await turn.pause()
        row = response.rows.add(task_type=name)
        figures(row.accuracy, accuracy.of_type(name))
    if len(rows) > size:
        response.next_page_token = paging.write_token(bound_to, Position(0, 0.0, rows[size - 1]))


def figures(message: Any, measured: Figures) -> None:
    """Fill an Accuracy."""
    message.sample_count = measured.sample_count
    for name in Figures._fields[1:]:
        value = getattr(measured, name)
        if value is not None:
            setattr(message, name, value)


def waits(message: Any, expected: ExpectedStarts) -> None:
    """Fill the part of an Accuracy that is about waiting tasks."""
    p50, p90 = expected.coverage()
    if p50 is not None:
        message.wait_p50_coverage = p50
    if p90 is not None:
        message.wait_p90_coverage = p90
