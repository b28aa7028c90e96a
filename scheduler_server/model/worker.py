"""Workers: who they are and what they say of themselves."""

from enum import IntEnum
from typing import NamedTuple, Protocol

from scheduler_server.model.calendar import Calendar
from scheduler_server.model.outcome import Outcome
from scheduler_server.model.task import Pairs


class Health(IntEnum):
    """May this worker be given tasks? HEALTHY first, DEGRADED after them, UNHEALTHY never."""

    HEALTHY = 1
    DEGRADED = 2
    UNHEALTHY = 3


class Accounting(IntEnum):
    """How a worker's occupancy is known: exactly from leases, or estimated from its samples."""

    TRACKED = 1
    SAMPLED = 2


class Intent(IntEnum):
    """What a worker wants to do."""

    WORK = 1
    DRAIN = 2
    LEAVE = 3


class Epoch(NamedTuple):
    """Names one session of one worker: who started (`boot_id`, empty for a bare worker) and its connection number."""

    boot_id: str
    connection: int


class Registration(NamedTuple):
    """Who a worker is and what it can do. Sequences are sorted and without doubles.

    `slots` and `prefetch` are None where the worker leaves them to the server's default; `explicit` is False for a
    worker that only sends heartbeats. `calendar` is None for one that works always. `accept_within_s`: somebody decides
    about each task that is offered, and has so long for it; None: it is taken, or declined, at once.
    """

    node: str = ""
    capabilities: tuple[str, ...] = ()
    specializations: tuple[str, ...] = ()
    worker_type: str = ""
    slots: int | None = None
    labels: Pairs = ()
    accepts_tasks: bool = False
    reports_outcomes: bool = False
    software: str = ""
    explicit: bool = True
    prefetch: int | None = None
    calendar: Calendar | None = None
    accept_within_s: float | None = None


class ReportKind(IntEnum):
    """What happened to a lease."""

    ACKNOWLEDGED = 2
    STARTED = 3
    FINISHED = 4
    DECLINED = 5
    RETURNED = 6


class LeaseReport(NamedTuple):
    """A fact about one lease, told by its worker. `outcome` goes with FINISHED, `detail` with DECLINED."""

    lease_id: str
    kind: ReportKind
    outcome: Outcome | None = None
    detail: str = ""


class RunningLease(NamedTuple):
    """A lease as its worker sees it; `elapsed_ms` is None while it is held and not started."""

    lease_id: str
    elapsed_ms: float | None


class Sample(NamedTuple):
    """One heartbeat's content, checked. `running` is None where the worker does not list its leases."""

    cpu: float
    memory: float
    queue_depth: int
    timestamp_ms: int
    sequence: int = 0
    intent: Intent = Intent.WORK
    running: tuple[RunningLease, ...] | None = None
    reports: tuple[LeaseReport, ...] = ()
    probe_nonce: str = ""
    drain_id: str = ""


class VerdictKind(IntEnum):
    """What a worker shall do with a lease it lists."""

    KEEP = 1
    STOP = 2
    UNKNOWN = 3


class GoodbyeReason(IntEnum):
    """Why a session ends."""

    SUPERSEDED = 1
    SERVER_SHUTDOWN = 2
    REMOVED = 3
    LEFT = 4
    FENCED = 5


class WorkerView(Protocol):
    """What a scorer may read of a worker. All of it is current when a scorer is called.

    `load_now` is 0-1: the last sample plus a share per lease since. `freshness` is 0-1 and falls in steps with the age
    of the last heartbeat; `health_score` is the coarser scale of the `specialist` scorer. `success_rate` and
    `average_ms` answer for a worker that has completed nothing with 1 and the default duration.
    """

    @property
    def worker_id(self) -> str: ...  # noqa: D102 -- the class docstring says it
    @property
    def slots(self) -> int: ...  # noqa: D102
    @property
    def free(self) -> int: ...  # noqa: D102
    @property
    def load_now(self) -> float: ...  # noqa: D102
    @property
    def freshness(self) -> float: ...  # noqa: D102
    @property
    def health_score(self) -> float: ...  # noqa: D102
    @property
    def speed(self) -> float: ...  # noqa: D102
    @property
    def success_rate(self) -> float: ...  # noqa: D102
    @property
    def average_ms(self) -> float: ...  # noqa: D102
    @property
    def specializations(self) -> frozenset[str]: ...  # noqa: D102
