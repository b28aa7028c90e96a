"""Tasks: what is asked for."""

from enum import IntEnum
from typing import NamedTuple, TypeAlias

from scheduler_server.model.trace import Trace

Pairs: TypeAlias = tuple[tuple[str, str], ...]
Numbers: TypeAlias = tuple[tuple[str, float], ...]

DEFAULT_PRIORITY = 0.5
DEFAULT_MAX_ATTEMPTS = 3


class LossPolicy(IntEnum):
    """What to do with a started task when its worker is lost."""

    REQUEUE = 1
    REPORT = 2


class Delivery(IntEnum):
    """Who hands the task to its worker."""

    CALLER = 1
    STREAM = 2


class TaskState(IntEnum):
    """Where one attempt of a task stands."""

    WAITING = 1
    PLACED = 2
    OFFERED = 3
    ACKNOWLEDGED = 4
    STARTED = 5
    FINISHED = 6
    CANCELLED = 7
    LOST = 8
    EXPIRED = 9
    SET_ASIDE = 10


class BlockingReason(IntEnum):
    """Why a task waits, or was refused."""

    NO_FREE_SLOT = 1
    NO_ELIGIBLE_WORKER_NOW = 2
    NO_WORKER_COULD_EVER = 3
    PAUSED = 4
    OVER_TENANT_SHARE = 5
    NOT_YET_DUE = 6
    OVERRIDE = 7


class TaskKey(NamedTuple):
    """Names one attempt of one task; `attempt` counts from 1, and 0 in a question means the latest."""

    tenant: str
    task_id: str
    attempt: int


class Hints(NamedTuple):
    """What the caller believes about a task that has not run yet; None where it says nothing."""

    expected_duration_ms: float | None = None
    description_length: int | None = None
    dependencies: int | None = None


class Prospects(NamedTuple):
    """What can be said of a waiting task. Starts are wall seconds, None where nothing can be said."""

    position: int
    start_p50: float | None
    start_p90: float | None
    blocking: BlockingReason
    detail: str
    as_of: float
    sample_count: int
    coverage: float | None


class Task(NamedTuple):
    """One attempt of one unit of work, as its queue service describes it.

    `required` (capabilities), `excluded` (worker ids), `labels`, `features` (numbers), `attributes` (words) and
    `resources` are sorted and without doubles, so that equal requests compare equal. `not_before` and `start_by` are
    wall seconds. `trace` is the span that all that becomes of it hangs below, None where it is not traced; it says
    nothing about the work. `asked_priority` is the one that it came with, None where nobody has changed that since.
    """

    tenant: str
    task_id: str
    attempt: int
    task_type: str
    category: str = ""
    priority: float = DEFAULT_PRIORITY
    required: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    labels: Pairs = ()
    features: Numbers = ()
    resources: Numbers = ()
    hints: Hints | None = None
    not_before: float | None = None
    start_by: float | None = None
    loss_policy: LossPolicy = LossPolicy.REPORT
    payload: bytes = b""
    slots: int = 1
    user: str = ""
    caller_choice: str = ""
    max_attempts: int = DEFAULT_MAX_ATTEMPTS
    attributes: Pairs = ()
    trace: Trace | None = None
    asked_priority: float | None = None

    @property
    def key(self) -> TaskKey:
        """The identity under which Assign is idempotent."""
        return TaskKey(self.tenant, self.task_id, self.attempt)
