"""AdminService.GetDemand: how many slots would serve what waits, by what its tasks need."""

from typing import Any

from scheduler_api.v1 import admin_service_pb2
from scheduler_server.assignment.demand import ClassDemand, DemandLook, Trends
from scheduler_server.assignment.events import Look
from scheduler_server.rpc import encode
from scheduler_server.rpc.checks import MAX_ITEMS, Checker
from scheduler_server.rpc.paging import MAX_PAGE_BYTES, Turn
from scheduler_server.rpc.shell import Shell

_DAY_S = 86_400.0
_LONGEST_S = 315_576_000_000.0
"""What a Duration holds: ten thousand years."""


class DemandCalls:
    """The method: check the message, look, encode the answer. `trends` are those of the looks at intervals."""

    def __init__(self, shell: Shell, trends: Trends) -> None:
        self._shell = shell
        self._core = shell.core
        self._trends = trends

    async def GetDemand(
        self, request: admin_service_pb2.GetDemandRequest, context: Any
    ) -> admin_service_pb2.GetDemandResponse:
        """What is needed, by class."""
        settings = self._core.settings.demand
        target_s = settings.target_wait_s
        checker = Checker()
        if request.HasField("target_wait"):
            given = request.target_wait
            target_s = checker.span_s("target_wait", given.seconds, given.nanos, above_zero=True)
            if not checker.faults and target_s > _DAY_S:
                checker.fault("target_wait", f"must be at most a day, {_DAY_S:,.0f} s (got {target_s:g} s)")
        checker.done()
        self._shell.handle(Look())
        look = DemandLook(self._core, settings, target_s, self._trends)
        turn = Turn()
        for _ in look.steps(self._shell.now(), idle=request.include_idle):
            if turn.over():
                await turn.pause()
        demand = look.demand
        response = admin_service_pb2.GetDemandResponse()
        if demand is None:
            raise RuntimeError("a look at the demand has no end")
        written = 0
        for each in demand.classes[:MAX_ITEMS]:
            if turn.over():
                await turn.pause()
            if written > MAX_PAGE_BYTES:
                break
            message = response.classes.add()
            _fill(message, each)
            written += message.ByteSize()
        encode.set_span(response.target_wait, demand.target_s)
        response.needed_slots = demand.needed
        response.present_slots = demand.present
        encode.set_instant(response.as_of, demand.as_of)
        return response


def _fill(message: Any, demand: ClassDemand) -> None:
    message.required_capabilities.extend(demand.required)
    message.match_labels.update(demand.labels)
    message.waiting_tasks = demand.waiting
    encode.set_span(message.waiting_work, min(demand.work_s, _LONGEST_S))
    message.present_slots = demand.present
    message.used_slots = demand.used
    message.needed_slots = demand.needed
    message.missing_slots = demand.needed - demand.present
    if demand.last_start is not None:
        encode.set_instant(message.expected_last_start, demand.last_start)
