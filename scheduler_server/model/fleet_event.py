"""Events that operators watch: significant changes of the fleet and of the scheduler itself."""

from collections.abc import Callable
from enum import IntEnum
from typing import NamedTuple


class FleetEventKind(IntEnum):
    """What changed."""

    WORKER_REGISTERED = 1
    WORKER_HEALTH_CHANGED = 2
    WORKER_CAPACITY_CHANGED = 3
    WORKER_LOAD_CROSSED = 4
    WORKER_CONNECTED = 5
    WORKER_DISCONNECTED = 6
    WORKER_DRAINED = 7
    WORKER_REMOVED = 8
    WORKER_SUPERSEDED = 9
    WORKER_CORDONED = 10
    WORKER_UNCORDONED = 11
    WORKER_DRAINING = 12
    WORKER_EJECTED = 13
    WORKER_REINSTATED = 14
    WORKER_FENCED = 15
    WORKER_NOT_RECEIVING = 16
    WORKER_CHANGED = 17
    WORKER_ON_SHIFT = 18
    WORKER_OFF_SHIFT = 19
    WORKER_LEDGER_REPAIRED = 20
    WORKER_LOST = 21
    WORKER_ACCOUNTING_CHANGED = 22
    WORKER_EJECTION_CAPPED = 23
    BREAKER_OPENED = 40
    BREAKER_HALF_OPEN = 41
    BREAKER_CLOSED = 42
    DRIFT_DETECTED = 43
    PREDICTION_UNTRUSTED = 44
    PREDICTION_TRUSTED = 45
    PREDICTIONS_CHANGED = 46
    FALLBACK_FORCED = 47
    LEASE_LOST_TRACK = 60
    LEASE_LOST = 61
    TASK_REQUEUED = 62
    TASK_SET_ASIDE = 63
    TASK_DECLINED = 64
    TASK_MOVED = 65
    TASK_REPRIORITIZED = 66
    QUEUE_PAUSED = 67
    QUEUE_RESUMED = 68
    CONFIG_CHANGED = 80
    OVERRIDE_CREATED = 81
    OVERRIDE_ENDED = 82
    LOG_LEVEL_CHANGED = 83
    ALERT_RAISED = 100
    ALERT_CLEARED = 101


class FleetEvent(NamedTuple):
    """One change: numbered from 1 within a run of the server, at a wall second.

    `subject` names what it is about where that is no worker: a prediction's key, a task type, an alert. `severity` is
    the contract's number where the kind alone does not tell it; otherwise 0.
    """

    sequence: int
    at: float
    kind: FleetEventKind
    worker_id: str = ""
    detail: str = ""
    before: str = ""
    after: str = ""
    subject: str = ""
    severity: int = 0


MakeEvent = Callable[..., FleetEvent]
"""Makes an event with the next number: instant, kind, worker, then what else there is to say, as `Scheduler.event`."""
