"""GetUtilization without a range, and GetLoad's window: the last hour, from memory, up to this moment."""

from math import ceil
from typing import Any

from scheduler_api.v1 import admin_service_pb2
from scheduler_server.history.history import History
from scheduler_server.history.hour import Hour, Spread
from scheduler_server.history.minute import Minute
from scheduler_server.rpc import encode, paging, ranges
from scheduler_server.rpc.paging import Position, Turn
from scheduler_server.storage.decision_log import Span


class LiveHour:
    """Answers from the ring of minutes."""

    def __init__(self, history: History, incarnation: str) -> None:
        self._history = history
        self._incarnation = incarnation

    async def utilization(
        self, request: admin_service_pb2.GetUtilizationRequest, step: int, size: int
    ) -> admin_service_pb2.GetUtilizationResponse:
        """Rows by time, then worker, the fleet first. A token names stretch and worker of the last row."""
        bound_to = paging.scope(self._incarnation, request)
        after = paging.read_token(bound_to, request.page_token)
        await self._history.sampler.look()
        hour = self._history.hour
        response = admin_service_pb2.GetUtilizationResponse()
        every = list(range(len(hour.minutes)))
        await self._row(response.overall, hour, every, request.worker_id)
        stretches = _stretches(len(every), ceil(step / ranges.MINUTE_S))
        names = [request.worker_id] if request.worker_id else ["", *(hour.workers() if request.by_worker else ())]
        turn = Turn()
        last: Position | None = None
        for minutes in stretches:
            began = hour.minutes[minutes[0]].began
            for name in names:
                if turn.over():
                    await turn.pause()
                at = Position(0, began, name)
                if after is not None and at <= after:
                    continue
                if len(response.rows) >= size and last is not None:
                    response.next_page_token = paging.write_token(bound_to, last)
                    return response
                row = response.rows.add()
                if await self._row(row, hour, minutes, name):
                    last = at
                else:
                    del response.rows[-1]
        return response

    async def _row(self, row: Any, hour: Hour, minutes: list[int], worker_id: str) -> bool:
        """Fill a row; False where nothing is known of the worker then."""
        columns = hour.columns(minutes[0], minutes[-1])
        total = Minute.sum(hour.minutes[each] for each in minutes)
        ranges.fill(row.range, Span(total.began, max(total.ended, total.began)))
        if not worker_id:
            _fill(row, await self.spread(columns))
            row.completed, row.failed = total.completed, total.failed
            if total.mean_waiting is not None:
                row.mean_waiting = total.mean_waiting
            if total.mean_wait_ms is not None:
                encode.set_span(row.mean_wait, total.mean_wait_ms / 1_000.0)
            if total.p99_wait_ms is not None:
                encode.set_span(row.p99_wait, total.p99_wait_ms / 1_000.0)
            return True
        row.worker_id = worker_id
        found = hour.of_worker(worker_id, columns)
        if found is None or not (found.present_s or found.completed or found.failed):
            return False
        busy, present = found.busy_s, found.present_s
        _fill(row, Spread(busy / present if present else None, None, None, busy, present))
        row.completed, row.failed = found.completed, found.failed
        return True

    async def spread(self, columns: list[int], only: list[str] | None = None) -> Spread:
        """How evenly work was spread, worked out in slices; among `only` these workers."""
        turn = Turn()
        for found in self._history.hour.spread(columns, only):
            if found is not None:
                return found
            if turn.over():
                await turn.pause()
        raise AssertionError("the answer comes last")

    async def over(self, window_s: float, only: list[str] | None) -> Spread:
        """The last minutes up to now, as many as cover the window, of all workers or only of these."""
        await self._history.sampler.look()
        hour = self._history.hour
        since = self._history.now().wall - window_s
        last = len(hour.minutes) - 1
        first = last
        while first > 0 and hour.minutes[first].began > since:
            first -= 1
        return await self.spread(hour.columns(first, last), only)


def _stretches(count: int, minutes: int) -> list[list[int]]:
    """Minutes by stretch: the first of a stretch is the first that is there, as ranges begin."""
    minutes = minutes or count
    return [list(range(start, min(start + minutes, count))) for start in range(0, count, minutes)]


def _fill(row: Any, found: Spread) -> None:
    for name in ("utilization", "spread", "max_over_mean"):
        value = getattr(found, name)
        if value is not None:
            setattr(row, name, value)
    encode.set_span(row.busy_time, found.busy_s)
    encode.set_span(row.present_time, found.present_s)
