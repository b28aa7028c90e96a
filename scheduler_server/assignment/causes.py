"""What follows from a decision's cause, and from the reason of a refusal."""

from scheduler_server.model.decision import Cause, Source
from scheduler_server.model.refusal import Reason

WAITABLE = frozenset(
    {
        Reason.NOT_YET_DUE,
        Reason.NO_FREE_SLOT,
        Reason.NO_WORKERS,
        Reason.NO_ELIGIBLE_WORKER_NOW,
        Reason.NO_CAPABLE_WORKER,
    }
)
"""What waiting can help: a slot, a worker, or one that can do it, may come."""

NO_PREDICTION = frozenset(
    {
        Cause.PREDICTOR_ERROR,
        Cause.PREDICTION_INVALID,
        Cause.PREDICTION_STALE,
        Cause.BREAKER_OPEN,
        Cause.TYPE_BREAKER_OPEN,
        Cause.FORCED_FALLBACK,
    }
)
"""Causes of decisions that rest on no prediction."""

SOURCES = dict.fromkeys(Cause, Source.FALLBACK) | {
    Cause.BEST_SCORE: Source.PREDICTED,
    Cause.ONLY_CANDIDATE: Source.PREDICTED,
    Cause.OVERRIDE_PIN: Source.OVERRIDE,
    Cause.REBALANCED: Source.PREDICTED,
}
"""How a decision with this cause came about."""
