"""Refusals: a no is an answer, not an exception."""

from enum import StrEnum
from typing import NamedTuple

from scheduler_server.model.decision import Rejection
from scheduler_server.model.task import BlockingReason, Prospects


class Reason(StrEnum):
    """Stable names of what can be wrong; `rpc.errors` maps each to its status code."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    NO_FREE_SLOT = "NO_FREE_SLOT"
    NO_WORKERS = "NO_WORKERS"
    NO_ELIGIBLE_WORKER_NOW = "NO_ELIGIBLE_WORKER_NOW"
    NO_CAPABLE_WORKER = "NO_CAPABLE_WORKER"
    TASK_CANCELLED = "TASK_CANCELLED"
    TASK_FINISHED = "TASK_FINISHED"
    TASK_CONFLICT = "TASK_CONFLICT"
    TASK_UNKNOWN = "TASK_UNKNOWN"
    TASK_NOT_WAITING = "TASK_NOT_WAITING"
    SCORER_UNKNOWN = "SCORER_UNKNOWN"
    PREDICTOR_UNKNOWN = "PREDICTOR_UNKNOWN"
    ATTEMPT_LOST = "ATTEMPT_LOST"
    START_BY_PASSED = "START_BY_PASSED"
    NOT_YET_DUE = "NOT_YET_DUE"
    QUEUE_FULL = "QUEUE_FULL"
    WAIT_OVER = "WAIT_OVER"
    LEASE_MISMATCH = "LEASE_MISMATCH"
    LEASE_UNKNOWN = "LEASE_UNKNOWN"
    LEASE_OF_ANOTHER_WORKER = "LEASE_OF_ANOTHER_WORKER"
    LEASE_ENDED = "LEASE_ENDED"
    WORKER_UNKNOWN = "WORKER_UNKNOWN"
    WORKER_BUSY = "WORKER_BUSY"
    SESSION_SUPERSEDED = "SESSION_SUPERSEDED"
    TOO_MANY_WORKERS = "TOO_MANY_WORKERS"
    NOT_SUPPORTED_YET = "NOT_SUPPORTED_YET"
    SERVER_DRAINING = "SERVER_DRAINING"
    STREAM_SILENT = "STREAM_SILENT"
    REQUEST_UNREADABLE = "REQUEST_UNREADABLE"
    PAGE_TOKEN_INVALID = "PAGE_TOKEN_INVALID"  # noqa: S105 -- a page, not a password
    RESUME_TOKEN_EXPIRED = "RESUME_TOKEN_EXPIRED"  # noqa: S105 -- a place in a stream, not a password
    WATCHER_TOO_SLOW = "WATCHER_TOO_SLOW"
    TOO_MANY_WATCHERS = "TOO_MANY_WATCHERS"
    NO_SNAPSHOT_STORE = "NO_SNAPSHOT_STORE"
    DEAD_LETTER_UNKNOWN = "DEAD_LETTER_UNKNOWN"
    UNDECODABLE = "UNDECODABLE"
    SNAPSHOT_IN_PROGRESS = "SNAPSHOT_IN_PROGRESS"
    STORE_UNAVAILABLE = "STORE_UNAVAILABLE"
    DECISION_UNKNOWN = "DECISION_UNKNOWN"
    NO_HISTORY = "NO_HISTORY"
    TOO_MANY_STEPS = "TOO_MANY_STEPS"
    LEARNING_IN_PROGRESS = "LEARNING_IN_PROGRESS"
    CREDENTIAL_MISSING = "CREDENTIAL_MISSING"
    CREDENTIAL_UNKNOWN = "CREDENTIAL_UNKNOWN"
    CREDENTIAL_EXPIRED = "CREDENTIAL_EXPIRED"
    ROLE_INSUFFICIENT = "ROLE_INSUFFICIENT"
    WORKER_NOT_YOURS = "WORKER_NOT_YOURS"
    RATE_LIMITED = "RATE_LIMITED"
    TOO_MANY_STREAMS = "TOO_MANY_STREAMS"
    TOO_MANY_NAMES = "TOO_MANY_NAMES"
    REVISION_STALE = "REVISION_STALE"
    REVISION_UNKNOWN = "REVISION_UNKNOWN"
    SETTING_UNKNOWN = "SETTING_UNKNOWN"
    CONFIG_HARMFUL = "CONFIG_HARMFUL"
    RESTART_NEEDED = "RESTART_NEEDED"
    OVERRIDE_IMPOSSIBLE = "OVERRIDE_IMPOSSIBLE"
    OVERRIDE_CONFLICT = "OVERRIDE_CONFLICT"
    OVERRIDE_EXISTS = "OVERRIDE_EXISTS"
    OVERRIDE_UNKNOWN = "OVERRIDE_UNKNOWN"
    TOO_MANY_OVERRIDES = "TOO_MANY_OVERRIDES"
    LOGGER_UNKNOWN = "LOGGER_UNKNOWN"
    PAUSE_UNKNOWN = "PAUSE_UNKNOWN"
    PREDICTION_UNKNOWN = "PREDICTION_UNKNOWN"
    INTERNAL = "INTERNAL"


class Refusal(NamedTuple):
    """A no: why, in words for people, with the ids and limits concerned.

    The rest is for refused placements: what blocks it, workers counted by what kept each out, what no known worker has,
    when asking again makes sense (seconds), and where it stood when its call gave up.
    """

    reason: Reason
    message: str
    metadata: tuple[tuple[str, str], ...] = ()
    blocking: BlockingReason | None = None
    rejections: tuple[tuple[Rejection, int], ...] = ()
    missing_capabilities: tuple[str, ...] = ()
    missing_labels: tuple[str, ...] = ()
    retry_after_s: float | None = None
    waiting: Prospects | None = None
