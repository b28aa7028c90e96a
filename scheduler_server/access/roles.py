"""The table: every method that this server answers, and the roles that may call it.

`admin` may call everything. A method that is missing here is refused to all but admins, and a test holds the table to
the contract, so a new method cannot be forgotten.
"""

from collections.abc import Iterable
from enum import StrEnum


class Role(StrEnum):
    """What a caller is for. One identity may have several."""

    WORKER = "worker"
    PRODUCER = "producer"
    VIEWER = "viewer"
    ADMIN = "admin"


_SCHEDULE, _ADMIN = "scheduler_api.v1.ScheduleService", "scheduler_api.v1.AdminService"

_W, _P, _V = Role.WORKER, Role.PRODUCER, Role.VIEWER

OPEN = frozenset(f"grpc.health.v1.Health/{method}" for method in ("Check", "Watch", "List"))
"""For everybody who can connect: probes and load balancers have no credential."""

_READS = """
    GetStatus GetLoad ListWorkers GetWorker RankWorkers GetDrain ListDrains WatchDrain GetDemand ListPredictions
    ListWaiting ListPauses ListDeadLetters ListOverrides GetConfig ListConfigHistory ExplainAssign GetDecision
    ExplainWaiting ListDecisions GetAccuracy GetUtilization ListAlerts WatchEvents GetShadowReport
"""
_CHANGES = """
    CordonWorker UncordonWorker RemoveWorker ReinstateWorker SetWorkerCalendar DrainWorkers CancelDrain RebalanceWaiting
    ForceFallback TripBreaker ResetBreaker SetPredictionDefault ForgetPredictions LearnFromHistory ReprioritizeTask
    PauseQueue ResumeQueue RetryDeadLetter DiscardDeadLetter CreateOverride DeleteOverride UpdateConfig RollbackConfig
    TakeSnapshot SetLogLevel
"""
_CHANNELZ = "GetTopChannels GetServers GetServer GetServerSockets GetChannel GetSubchannel GetSocket"
_SECRETIVE = "ListAuditEntries"  # changes nothing, but tells who did what and from where

ROLES: dict[str, frozenset[Role]] = {
    f"{_SCHEDULE}/Schedule": frozenset({_W}),
    f"{_SCHEDULE}/Assign": frozenset({_P}),
    f"{_SCHEDULE}/AssignBatch": frozenset({_P}),
    f"{_SCHEDULE}/ReportOutcome": frozenset({_P, _W}),  # a worker only of leases of workers that it may be
    f"{_SCHEDULE}/GetTask": frozenset({_P, _V}),
    f"{_SCHEDULE}/CancelTask": frozenset({_P}),
    f"{_SCHEDULE}/WatchTasks": frozenset({_P, _V}),
    **{f"{_ADMIN}/{method}": frozenset({_V}) for method in _READS.split()},
    **{f"{_ADMIN}/{method}": frozenset[Role]() for method in f"{_CHANGES} {_SECRETIVE}".split()},
    # They tell what there is, and who is connected.
    "grpc.reflection.v1.ServerReflection/ServerReflectionInfo": frozenset[Role](),
    "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": frozenset[Role](),
    **{f"grpc.channelz.v1.Channelz/{method}": frozenset[Role]() for method in _CHANNELZ.split()},
}
"""By "package.Service/Method": the roles that may call it, beside `admin`."""


def allowed(roles: Iterable[Role], method: str) -> Role | None:
    """The role among these that may call the method, the least of them; None: none may."""
    has = frozenset(roles)
    wanted = ROLES.get(method, frozenset())
    for role in (_W, _P, _V):
        if role in has and role in wanted:
            return role
    return Role.ADMIN if Role.ADMIN in has else None


def wanted(method: str) -> tuple[Role, ...]:
    """The roles that may call the method, for people."""
    return (*(role for role in Role if role in ROLES.get(method, frozenset())), Role.ADMIN)
