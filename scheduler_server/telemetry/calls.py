"""Calls by method: how many, how they ended, how long they took.

Rate, errors and duration under the names, labels and meanings that gRPC gives them itself (gRFC A66, stable):
`grpc.server.call.started` and `grpc.server.call.duration`. OpenTelemetry's own `rpc.server.call.duration` is a release
candidate, and its guide to compatibility calls the two equivalent but for the labels.

grpcio has no such plugin for asyncio, and an interceptor costs 50 us, so the one wrapper that every method has anyway
counts: two readings of the clock and a bucket, under a microsecond.
"""

from typing import Any

from scheduler_server.model.histogram import Histogram
from scheduler_server.telemetry.arriving import Arriving

_SCHEDULE = "Schedule Assign AssignBatch ReportOutcome GetTask CancelTask WatchTasks"
_ADMIN = """
    GetStatus GetLoad ListWorkers GetWorker RankWorkers CordonWorker UncordonWorker RemoveWorker ReinstateWorker
    SetWorkerCalendar DrainWorkers GetDrain ListDrains WatchDrain CancelDrain RebalanceWaiting GetDemand
    ForceFallback TripBreaker ResetBreaker ListPredictions SetPredictionDefault ForgetPredictions
    LearnFromHistory ListWaiting ReprioritizeTask PauseQueue ResumeQueue ListPauses ListDeadLetters
    RetryDeadLetter DiscardDeadLetter CreateOverride ListOverrides DeleteOverride GetConfig UpdateConfig
    ListConfigHistory RollbackConfig ListAuditEntries TakeSnapshot SetLogLevel ExplainAssign GetDecision
    ExplainWaiting ListDecisions GetAccuracy GetUtilization ListAlerts WatchEvents GetShadowReport
"""

METHODS = (
    *(f"scheduler_api.v1.ScheduleService/{name}" for name in _SCHEDULE.split()),
    *(f"scheduler_api.v1.AdminService/{name}" for name in _ADMIN.split()),
)
"""Of the contract, as it has them; a test holds this to it. What else there is on the port (health, reflection, names
that nobody has) is not measured."""

STATUSES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip
"""By their numbers."""

BOUNDS_S = (1e-4, 3e-4, 6e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 20.0, 100.0)
"""Sixteen of gRPC's own forty: a series for each costs the scraper more than the finer steps tell."""


class MethodCalls:
    """Calls of one method; those that have started and not ended are open, streams among them.

    `arriving` has those that have not started, of all methods: who starts one takes it out.
    """

    __slots__ = ("arriving", "by_status", "name", "ok", "started")

    def __init__(self, name: str, arriving: dict[Any, None] | None = None) -> None:
        self.name = name
        self.arriving = arriving if arriving is not None else {}  # by the task that answers
        self.started = 0
        self.ok = Histogram(BOUNDS_S)
        self.by_status = {"OK": self.ok}

    def ended(self, status: str, seconds: float) -> None:
        """One ended with this status; what is none counts as UNKNOWN, as gRPC has it."""
        status = status if status in STATUSES else "UNKNOWN"
        found = self.by_status.get(status)
        if found is None:
            found = self.by_status[status] = Histogram(BOUNDS_S)
        found.observe(seconds)


class Calls:
    """Calls of every method."""

    def __init__(self) -> None:
        self.arriving = Arriving()
        self.by_method = {name: MethodCalls(name, self.arriving.calls) for name in METHODS}
