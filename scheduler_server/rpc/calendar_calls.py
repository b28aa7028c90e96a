"""AdminService's SetWorkerCalendar: an operator's hours for a worker, in place of those that it registered."""

from collections.abc import Callable
from typing import Any

from scheduler_api.v1 import admin_service_pb2
from scheduler_server.model.calendar import Calendar
from scheduler_server.model.clock import Now
from scheduler_server.model.decision import Rejection
from scheduler_server.model.standing import About, OrderKind
from scheduler_server.registry.record import WorkerRecord
from scheduler_server.registry.timetable import OFF, Timetable
from scheduler_server.rpc import calendars, checks, encode
from scheduler_server.rpc.checks import Checker
from scheduler_server.rpc.errors import Refused
from scheduler_server.rpc.fleet_calls import Fill, Find
from scheduler_server.rpc.paging import Turn
from scheduler_server.rpc.shell import Shell
from scheduler_server.rpc.steering import Steering, reason_of


class CalendarCalls:
    """The one method: check, order, encode. `find` raises Refused where there is no such worker."""

    def __init__(
        self, shell: Shell, steering: Steering, find: Find, fill: Fill, refuse_when_draining: Callable[[], None]
    ) -> None:
        self._shell = shell
        self._core = shell.core
        self._steering = steering
        self._find = find
        self._fill = fill
        self._refuse_when_draining = refuse_when_draining

    async def SetWorkerCalendar(
        self, request: admin_service_pb2.SetWorkerCalendarRequest, context: Any
    ) -> admin_service_pb2.SetWorkerCalendarResponse:
        """Set a worker's hours, or go back to its own."""
        checker = Checker()
        reason = reason_of(checker, request)
        about = About(OrderKind.CALENDAR, request.worker_id)
        known = self._core.fleet.records.get(request.worker_id)
        calendar: Calendar | None = None
        if request.HasField("calendar"):
            most = {} if known is None else {"most_slots": known.full_slots}
            calendar = calendars.calendar_of(request.calendar, "calendar", checker, self._shell.now().wall, **most)
        try:
            await self._find(request.worker_id, checker)
        except Refused:
            if calendar is not None or about not in self._core.standing.orders:
                raise
        self._refuse_when_draining()
        response = admin_service_pb2.SetWorkerCalendarResponse()
        if not request.dry_run:
            async with self._steering.changing:
                order = None if calendar is None else self._steering.order(reason)._replace(calendar=calendar)
                if not self._same(about, calendar):
                    await self._steering.stand(about, order)
        record = self._core.fleet.records.get(request.worker_id)
        if record is not None:  # it may have been removed meanwhile; its hours stand all the same
            await self._answer(response, record, calendar, dry_run=request.dry_run)
        return response

    def _same(self, about: About, calendar: Calendar | None) -> bool:
        order = self._core.standing.orders.get(about)
        return calendar is None if order is None else order.calendar == calendar

    async def _answer(
        self,
        response: admin_service_pb2.SetWorkerCalendarResponse,
        record: WorkerRecord,
        calendar: Calendar | None,
        *,
        dry_run: bool,
    ) -> None:
        now = self._shell.now()
        self._fill(response.worker, record)
        timetable = record.timetable
        if dry_run:
            own = record.registration.calendar if calendar is None else calendar
            timetable = None if own is None else Timetable(own)
            _as_it_would_be(response.worker, record, timetable, now, by_operator=calendar is not None)
        response.leases_beyond_shift = await self._beyond(record, timetable, now)

    async def _beyond(self, record: WorkerRecord, timetable: Timetable | None, now: Now) -> int:
        """Leases that are predicted to end after the present shift does; while it is off, all."""
        if timetable is None:
            return 0
        ends_at = now.wall if timetable.slots_at(now.wall) == OFF else timetable.next_turn(now.wall)
        beyond = 0
        turn = Turn()
        for lease in list(record.leases.values()):
            if turn.over():
                await turn.pause()
            beyond += lease.live and now.wall + self._core.remaining(lease, now).p50_ms / 1e3 > ends_at
        return beyond


def _as_it_would_be(
    message: Any, record: WorkerRecord, timetable: Timetable | None, now: Now, *, by_operator: bool
) -> None:
    """Let a Worker say what it would with these hours."""
    for name in ("calendar", "next_shift_change"):
        message.ClearField(name)
    message.calendar_set_by_operator = by_operator
    off = timetable is not None and timetable.slots_at(now.wall) == OFF
    if timetable is not None:
        calendars.fill(message.calendar, timetable.calendar)
        if (turn := timetable.next_turn(now.wall)) <= checks.LAST_SECOND:
            encode.set_instant(message.next_shift_change, turn)
    if off and record.status in (Rejection.CANDIDATE, Rejection.NO_FREE_SLOT, Rejection.OFF_SHIFT):
        message.rejection = Rejection.OFF_SHIFT.value
        message.rejection_detail = "its shift is over"
        message.ClearField("estimated_available_at")
    elif not off and record.status is Rejection.OFF_SHIFT:
        message.ClearField("rejection")
        message.ClearField("rejection_detail")
