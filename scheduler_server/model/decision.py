"""Decisions: which worker, and why."""

from enum import IntEnum
from typing import NamedTuple, TypeAlias

from scheduler_server.model.prediction import Prediction
from scheduler_server.model.task import TaskKey

Term: TypeAlias = tuple[str, float, float]
"""One part of a score: name, value, weight. The score is the sum of value times weight."""


class Source(IntEnum):
    """How a decision came about."""

    PREDICTED = 1
    FALLBACK = 2
    OVERRIDE = 3


class Cause(IntEnum):
    """Why a decision came about that way."""

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


class Rejection(IntEnum):
    """Why a worker is not a candidate. CANDIDATE, for the others, is no reason at all."""

    CANDIDATE = 0
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


class Score(NamedTuple):
    """What a scorer says of one worker for one task: higher is better, comparable within one scorer only."""

    value: float
    terms: tuple[Term, ...]


class Candidate(NamedTuple):
    """A worker that was looked at: its score, or what kept it out."""

    worker_id: str
    score: float | None
    terms: tuple[Term, ...]
    rejection: Rejection
    free_slots: int
    load: float
    speed: float
    wait_ms: float
    duration_ms: float


class ChangeKind(IntEnum):
    """What of a worker, or of the prediction, could have been otherwise."""

    TERM = 1
    HEALTHY = 2
    FREE_SLOT = 3
    ADMITTED = 4
    PREDICTION = 5


class Change(NamedTuple):
    """One fact that could have been another, all others as they were; and whether the answer had been another then.

    TERM: the term `name` of this worker's score was `actual`; it `wins` from `needed` on, which is the least that does,
    and None where the term cannot get there. HEALTHY: the worker was degraded, and is taken to be healthy. FREE_SLOT:
    it had none, only room to stage a task, and is taken to have one slot more. ADMITTED: the worker was no candidate,
    for `rejection`, and is taken to be one, with this `score`. PREDICTION, of a fallback: `actual` was beyond the limit
    `needed`, where those are numbers; without that, predictor and scorer had chosen this worker, "" where nobody can
    tell whom. It `wins` where the fallback chose another.
    """

    kind: ChangeKind
    worker_id: str
    wins: bool
    name: str = ""
    actual: float | None = None
    needed: float | None = None
    score: float | None = None
    rejection: Rejection = Rejection.CANDIDATE


class Explanation(NamedTuple):
    """Everything a decision looked at: the best candidates, best first, and the rest counted by reason.

    `changes` are what would have changed the answer, and what would not although it might seem so.
    """

    candidates: tuple[Candidate, ...]
    candidate_count: int
    rejections: tuple[tuple[Rejection, int], ...]
    margin: float | None
    changes: tuple[Change, ...] = ()


class Decision(NamedTuple):
    """The answer for one attempt of one task: the record itself, from which every explanation is rendered.

    Waits and durations are milliseconds. `age_s` is the winner's heartbeat age. `prediction` is None under a fallback
    that had none.
    """

    decision_id: str
    task: TaskKey
    task_type: str
    lease_id: str
    worker_id: str
    wait_ms: float
    duration_ms: float
    score: float
    terms: tuple[Term, ...]
    source: Source
    cause: Cause
    scorer: str
    policy_revision: int
    incarnation: str
    decided_at: float
    prediction: Prediction | None
    candidates: int
    degraded: bool
    explanation: Explanation | None = None


def without(decision: Decision) -> Decision:
    """The decision without its explanation, for those who did not ask for it."""
    return decision if decision.explanation is None else decision._replace(explanation=None)
