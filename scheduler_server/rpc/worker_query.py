"""Which workers, in which order: the filters and sort keys of ListWorkers and GetLoad."""

from collections.abc import Callable, Iterable
from heapq import nlargest
from math import isfinite
from typing import Any

from scheduler_api.v1 import admin_service_pb2
from scheduler_server.model.decision import Rejection
from scheduler_server.model.worker import Accounting, Health
from scheduler_server.registry.record import WorkerRecord
from scheduler_server.rpc import checks
from scheduler_server.rpc.checks import Checker
from scheduler_server.rpc.paging import Position, Turn
from scheduler_server.rpc.worker_view import effective_load

_OF_THE_TASK: frozenset[int] = frozenset(
    {
        Rejection.CAPABILITY,
        Rejection.LABEL,
        Rejection.EXCLUDED,
        Rejection.NOT_ACCEPTING,
        Rejection.OVERRIDE,
        Rejection.TOO_FEW_SLOTS,
    }
)
"""Reasons that depend on the task, so that no worker is kept out for them whatever the task."""

_REJECTIONS = frozenset(reason.value for reason in Rejection if reason is not Rejection.CANDIDATE)
_HEALTHS = frozenset(each.value for each in Health)
_ACCOUNTINGS = frozenset(each.value for each in Accounting)

_ALIKE = 0.7
"""Share of an id's characters that must agree at its ends to be called similar: a typing error in a short id passes."""

_MOST_SIMILAR = 3
_MOST_FOUND = 256  # kept before all but the best are dropped


class Profile:
    """Capabilities and labels that workers must have."""

    def __init__(self, request: Any, checker: Checker) -> None:
        self._capabilities = checker.names("capabilities", request.capabilities)
        self._labels = checker.pairs("match_labels", request.match_labels.items())

    @property
    def everybody(self) -> bool:
        """Has every worker it?"""
        return not self._capabilities and not self._labels

    def matches(self, record: WorkerRecord) -> bool:
        """Has it all of them?"""
        registration = record.registration
        return all(each in registration.capabilities for each in self._capabilities) and all(
            each in registration.labels for each in self._labels
        )


class Filter(Profile):
    """All filters of ListWorkers."""

    def __init__(self, request: admin_service_pb2.ListWorkersRequest, checker: Checker) -> None:
        super().__init__(request, checker)
        for at, each in enumerate(request.health):
            checker.choice(f"health[{at}]", each, _HEALTHS, "WorkerHealth")
        self._health = frozenset[int](request.health)
        self._min_free = None
        if request.HasField("min_free_slots"):
            self._min_free = checker.count("min_free_slots", request.min_free_slots, 0, checks.MAX_SLOTS)
        self._cordoned = request.cordoned if request.HasField("cordoned") else None
        self._draining = request.draining if request.HasField("draining") else None
        self._connected = request.connected if request.HasField("connected") else None
        self._accounting: int = request.accounting
        if self._accounting:
            checker.choice("accounting", self._accounting, _ACCOUNTINGS, "WorkerAccounting")
        self._rejection: int = request.rejection
        if self._rejection:
            checker.choice("rejection", self._rejection, _REJECTIONS, "RejectionReason")
            if self._rejection in _OF_THE_TASK:
                checker.fault("rejection", "depends on the task: no worker is kept out for it whatever the task")
        checker.text("worker_type", request.worker_type)
        self._worker_type = request.worker_type
        checker.text("id_contains", request.id_contains)
        self._contains = request.id_contains.casefold()

    def matches(self, record: WorkerRecord) -> bool:
        """Does it pass every filter?"""
        return (
            (not self._health or record.health in self._health)
            and (self._min_free is None or record.free >= self._min_free)
            and (self._cordoned is None or record.cordoned is self._cordoned)
            and (self._draining is None or record.draining is self._draining)
            and (self._connected is None or record.connected is self._connected)
            and (not self._accounting or record.accounting == self._accounting)
            and (not self._rejection or record.status == self._rejection)
            and (not self._worker_type or record.registration.worker_type == self._worker_type)
            and (not self._contains or self._contains in record.worker_id.casefold())
            and super().matches(record)
        )


Wait = Callable[[WorkerRecord], float]
Value = Callable[[WorkerRecord], float | None]


class Order:
    """How to sort. Values that move by themselves as time passes are sorted by what stands still.

    Invariant: `backwards` only where the id itself is sorted by, because ties always go by id in rising order.
    """

    def __init__(self, order_by: str, checker: Checker, wait_s: Wait) -> None:
        words = order_by.split()
        self._value: Value | None = None
        self._sign = 1.0
        self.backwards = False
        name = words[0] if words else "worker_id"
        values = _values(wait_s)
        if len(words) > 2 or (len(words) == 2 and words[1] != "desc") or name not in values:  # noqa: PLR2004 -- a name, and a direction
            checker.fault("order_by", f'must be one of {", ".join(values)}, with " desc" for falling order')
            return
        falling = len(words) == 2  # noqa: PLR2004 -- name and "desc"
        self._value = values[name]
        self.backwards = falling and self._value is None
        self._sign = -1.0 if falling else 1.0

    def position(self, record: WorkerRecord) -> Position:
        """Where a worker stands."""
        if self._value is None:
            return Position(0, 0.0, record.worker_id)
        value = self._value(record)
        if value is None or not isfinite(value):
            return Position(1, 0.0, record.worker_id)
        return Position(0, value * self._sign, record.worker_id)


def _values(wait_s: Wait) -> dict[str, Value | None]:
    return {
        "worker_id": None,
        "load": lambda record: record.load,
        "effective_load": effective_load,
        "free_slots": lambda record: record.free,
        "running_leases": lambda record: len(record.leases),
        "queue_depth": lambda record: record.queue_depth,
        "completed": lambda record: record.completed,
        "failed": lambda record: record.failed,
        "success_rate": lambda record: record.success_rate if record.completed or record.failed else None,
        "average_duration": lambda record: record.average or None,
        "speed": lambda record: record.speed if record.speed_samples else None,
        "heartbeat_age": lambda record: -record.last_seen,
        "registered_at": lambda record: record.registered_at,
        # To the microsecond: sums of durations that people would call equal differ in their last bits.
        "estimated_available_at": lambda record: round(wait_s(record), 6),
    }


async def similar(worker_ids: Iterable[str], wanted: str) -> list[str]:
    """The few ids that look most like one that does not exist."""
    turn = Turn()
    folded = wanted.casefold()
    found: list[tuple[float, str]] = []
    for worker_id in list(worker_ids):
        if turn.over():
            await turn.pause()
        likeness = _likeness(folded, worker_id.casefold())
        if likeness >= _ALIKE:
            found.append((likeness, worker_id))
            if len(found) > _MOST_FOUND:
                found = nlargest(_MOST_SIMILAR, found)
    return [worker_id for _, worker_id in sorted(found, key=lambda each: (-each[0], each[1]))[:_MOST_SIMILAR]]


def _likeness(one: str, other: str) -> float:
    """Share of the longer that agrees at both ends: 1 for the same, or nearly so where one contains the other."""
    shorter, longer = (one, other) if len(one) <= len(other) else (other, one)
    if shorter in longer:
        return max(_ALIKE, len(shorter) / len(longer))
    if len(shorter) / len(longer) < _ALIKE:
        return 0.0
    most = len(shorter)
    front = 0
    while front < most and shorter[front] == longer[front]:
        front += 1
    back = 0
    while back < most - front and shorter[-1 - back] == longer[-1 - back]:
        back += 1
    return (front + back) / len(longer)
