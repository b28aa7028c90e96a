"""What every decision log promises, what can be asked of it, and what it answers."""

from enum import Enum
from typing import Generic, NamedTuple, Protocol, TypeVar

from scheduler_server.model.decision import Cause, Decision, Source
from scheduler_server.model.outcome import Outcome, OutcomeStatus
from scheduler_server.model.task import Prospects, Task
from scheduler_server.storage.decision_log.rows import AuditRow, Batch, EventRow, ShadowRow

T_co = TypeVar("T_co", covariant=True)


class LogFault(Enum):
    """Why a log cannot be used: stable words for status, metrics and error details."""

    CORRUPT = "corrupt"
    FOREIGN = "foreign"
    NEWER_VERSION = "newer_version"
    LOCKED = "locked"
    UNWRITABLE = "unwritable"
    DISK_FULL = "disk_full"
    IO = "io"
    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    UNSUITABLE_ROW = "unsuitable_row"
    TOO_SLOW = "too_slow"


class LogError(Exception):
    """The log refused: one line that names it, without any secret, and a stable `reason`.

    After a failed write nobody knows whether the batch is there: write the same batch again.
    """

    def __init__(self, reason: LogFault, message: str) -> None:
        self.reason = reason
        super().__init__(message)


class PageTokenInvalid(ValueError):
    """A page token that no answer of this log has had."""


# ------------------------------------------------------------------ what can be asked


class Span(NamedTuple):
    """A stretch of time in wall seconds, `end` excluded; None is open."""

    start: float | None = None
    end: float | None = None


class DecisionFilter(NamedTuple):
    """Which decisions. None and () are no condition, and "" none where a name is meant; all that is given must hold.

    `outcomes` compares the last outcome known of a decision.
    """

    span: Span = Span()
    tenant: str | None = None
    task_type: str = ""
    task_id: str = ""
    worker_id: str = ""
    sources: tuple[Source, ...] = ()
    causes: tuple[Cause, ...] = ()
    outcomes: tuple[OutcomeStatus, ...] = ()
    policy_revision: int = 0
    scorer: str = ""
    override_id: str = ""


class ByDecision(NamedTuple):
    """The decision with this id."""

    decision_id: str


class ByLease(NamedTuple):
    """The decision that granted this lease."""

    lease_id: str


class ByTask(NamedTuple):
    """The last decision about a task; of its latest attempt where `attempt` is 0."""

    tenant: str
    task_id: str
    attempt: int = 0


class AuditFilter(NamedTuple):
    """Which audit entries; "" is no condition."""

    span: Span = Span()
    author: str = ""
    method: str = ""
    subject_id: str = ""


class EventFilter(NamedTuple):
    """Which events; "" and () are no condition."""

    span: Span = Span()
    kinds: tuple[str, ...] = ()
    worker_id: str = ""


class AccuracyQuery(NamedTuple):
    """Accuracy over time. `step_s` 0 is one stretch; whole minutes otherwise. Ends of the span are widened to minutes.

    `by_*`: beside the row of all, one for each combination of what is asked for.
    """

    span: Span = Span()
    step_s: int = 0
    task_type: str = ""
    by_task_type: bool = False
    by_predictor: bool = False


class UtilizationQuery(NamedTuple):
    """Utilisation over time; see `AccuracyQuery` for span and step. `by_worker`: a row for each worker too."""

    span: Span = Span()
    step_s: int = 0
    worker_id: str = ""
    by_worker: bool = False


class ShadowFilter(NamedTuple):
    """Which decisions of other policies; "" is no condition."""

    span: Span = Span()
    policy: str = ""


class HistoryFilter(NamedTuple):
    """Which outcomes to learn from."""

    span: Span = Span()
    task_type: str = ""


# ------------------------------------------------------------------ what is answered


class Page(NamedTuple, Generic[T_co]):
    """Some of what was asked for; `next` continues it, "" where there is no more."""

    items: list[T_co]
    next: str = ""


class LoggedOutcome(NamedTuple):
    """How a decision ended; instants are wall seconds. `outcome` is None where nobody said how, `started_at` when."""

    outcome: Outcome | None
    started_at: float | None
    ended_at: float
    normal_ms: float | None


class LoggedDecision(NamedTuple):
    """A decision as recorded, and what came of it; its explanation where it was recorded and asked for."""

    decision: Decision
    category: str
    priority: float
    caller_choice: str
    enqueued_at: float | None
    expected: Prospects | None
    trace_id: str
    overrides: tuple[tuple[str, str], ...]
    outcome: LoggedOutcome | None


class Lesson(NamedTuple):
    """A success as a predictor is taught it, at a wall second: the task as far as known, its duration at speed 1."""

    at: float
    decision_id: str
    task: Task
    duration_ms: float


class LoggedShadow(NamedTuple):
    """What another policy would have decided; how long the task took where it ran, None where it did not succeed."""

    row: ShadowRow
    took_ms: float | None


class AccuracyFigures(NamedTuple):
    """How good predictions were in `span`. Shares are 0-1, None where nothing was compared. "" is all together.

    The median is read from a histogram: a few per cent of its value off.
    """

    span: Span
    task_type: str
    predictor: str
    sample_count: int = 0
    within_25_percent: float | None = None
    within_factor_2: float | None = None
    median_relative_error: float | None = None
    p50_coverage: float | None = None
    p90_coverage: float | None = None
    wait_p50_coverage: float | None = None
    wait_p90_coverage: float | None = None
    mean_relative_bias: float | None = None


class UtilizationFigures(NamedTuple):
    """How busy worker_id ("": the fleet) was in `span`; times are milliseconds. See UtilizationRow of the contract.

    `mean_waiting`, the spreads and `p99_wait_ms` are of the fleet only; the latter is at most 19 % too high.
    """

    span: Span
    worker_id: str
    utilization: float | None = None
    spread: float | None = None
    max_over_mean: float | None = None
    busy_ms: float = 0.0
    present_ms: float = 0.0
    completed: int = 0
    failed: int = 0
    mean_waiting: float | None = None
    mean_wait_ms: float | None = None
    p99_wait_ms: float | None = None


class Size(NamedTuple):
    """Decisions held, and bytes in all, as far as the log can tell."""

    decisions: int
    size_bytes: int


class DecisionLog(Protocol):
    """Where decisions and what came of them are kept and found again.

    Every implementation passes the same contract suite. `prepare`, `write`, `tidy` and `close` are for one thread, the
    questions for another (one at a time each). All may block, up to the implementation's `timeout_s`, and raise
    LogError.
    """

    @property
    def backend(self) -> str:
        """What it is: "sqlite", "clickhouse"."""

    @property
    def location(self) -> str:
        """Path or address, without any secret."""

    def prepare(self) -> list[str]:
        """Connect, make or migrate the tables; what should be told of it, one line each. Safe to repeat."""

    def write(self, batch: Batch) -> list[str]:
        """Store a batch; what should be told of it. Writing the same batch again changes nothing."""

    def tidy(self, now: float) -> bool:
        """One short step (some milliseconds) of forgetting what is too old at this wall second; True if more is due."""

    def close(self) -> None:
        """Give the writing side free. A second call does nothing."""

    def find(self, which: ByDecision | ByLease | ByTask) -> LoggedDecision | None:
        """One decision, with its candidates."""

    def decisions(
        self, which: DecisionFilter, *, limit: int, after: str = "", candidates: bool = False
    ) -> Page[LoggedDecision]:
        """Decisions, newest first. What is added meanwhile changes no page. Raises PageTokenInvalid."""

    def accuracy(self, query: AccuracyQuery, *, limit: int, after: str = "") -> Page[AccuracyFigures]:
        """By time, then type, then predictor; stretches without outcomes have no row."""

    def utilization(self, query: UtilizationQuery, *, limit: int, after: str = "") -> Page[UtilizationFigures]:
        """By time, then worker, the fleet first; stretches without samples, starts and ends have no row."""

    def lessons(self, which: HistoryFilter, *, limit: int, after: str = "") -> Page[Lesson]:
        """What a predictor can learn from, in the order in which it happened."""

    def audit(self, which: AuditFilter, *, limit: int, after: str = "") -> Page[AuditRow]:
        """Audit entries, newest first."""

    def events(self, which: EventFilter, *, limit: int, after: str = "") -> Page[EventRow]:
        """Events, newest first."""

    def shadows(self, which: ShadowFilter, *, limit: int, after: str = "") -> Page[LoggedShadow]:
        """What other policies would have decided, newest first."""

    def size(self) -> Size:
        """How much there is."""

    def close_reading(self) -> None:
        """Give the reading side free. A second call does nothing."""


class Retention(NamedTuple):
    """How long things are kept, in days; `most_bytes` bounds a log in a file (0: no bound)."""

    rows_days: float = 30.0
    figures_days: float = 400.0
    audit_days: float = 400.0
    most_bytes: int = 4 << 30
