"""The closed sets of the contract, as Python enums with the contract's numbers.

A number that a newer server has added reads as UNSPECIFIED: an old client stays able to read the rest of the
answer. The raw messages (`Placement.response`) keep the number itself. What each value means is said in the
proto files.
"""

from enum import IntEnum
from typing import Self


class _OpenEnum(IntEnum):
    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        return cls(0) if isinstance(value, int) else None


class Delivery(_OpenEnum):
    """Who hands the task to its worker."""

    UNSPECIFIED = 0
    CALLER = 1
    STREAM = 2


class LossPolicy(_OpenEnum):
    """What to do with a started task when its worker is lost."""

    UNSPECIFIED = 0
    REQUEUE = 1
    REPORT = 2


class OutcomeStatus(_OpenEnum):
    """How a task really ended. LOST is said by the server only."""

    UNSPECIFIED = 0
    SUCCEEDED = 1
    FAILED = 2
    CANCELLED = 3
    TIMED_OUT = 4
    LOST = 5


class OutcomeResult(_OpenEnum):
    """What became of a report."""

    UNSPECIFIED = 0
    ACCEPTED = 1
    DUPLICATE = 2
    LATE = 3
    REFUSED = 4


class TaskState(_OpenEnum):
    """Where one attempt of a task stands."""

    UNSPECIFIED = 0
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


ENDED = (TaskState.FINISHED, TaskState.CANCELLED, TaskState.LOST, TaskState.EXPIRED, TaskState.SET_ASIDE)
"""What an attempt goes on from only if somebody does something: for `watch_tasks(states=ENDED)`."""


class BlockingReason(_OpenEnum):
    """Why a task waits."""

    UNSPECIFIED = 0
    NO_FREE_SLOT = 1
    NO_ELIGIBLE_WORKER_NOW = 2
    NO_WORKER_COULD_EVER = 3
    PAUSED = 4
    OVER_TENANT_SHARE = 5
    NOT_YET_DUE = 6
    OVERRIDE = 7


class DecisionSource(_OpenEnum):
    """How a decision came about."""

    UNSPECIFIED = 0
    PREDICTED = 1
    FALLBACK = 2
    OVERRIDE = 3


class DecisionCause(_OpenEnum):
    """Why a decision came about that way."""

    UNSPECIFIED = 0
    BEST_SCORE = 1
    ONLY_CANDIDATE = 2
    PREDICTOR_ERROR = 3
    PREDICTION_INVALID = 4
    PREDICTION_STALE = 5
    OVER_BUDGET = 6
    SCORER_ERROR = 7
    SCORE_INVALID = 8
    BREAKER_OPEN = 9
    TYPE_BREAKER_OPEN = 10
    PREDICTION_UNTRUSTED = 11
    FORCED_FALLBACK = 12
    OVERRIDE_PIN = 13
    REBALANCED = 14


class RejectionReason(_OpenEnum):
    """Why a worker was not a candidate."""

    UNSPECIFIED = 0
    CAPABILITY = 1
    LABEL = 2
    EXCLUDED = 3
    UNHEALTHY = 4
    DISCONNECTED = 5
    NO_FREE_SLOT = 6
    CORDONED = 7
    DRAINING = 8
    UNRECONCILED = 9
    NOT_ACCEPTING = 10
    OUTBOUND_FULL = 11
    OFF_SHIFT = 12
    EJECTED = 13
    OVERRIDE = 14
    HEALTH_SCORE = 15
    NOT_RECEIVING = 16
    TOO_FEW_SLOTS = 17
