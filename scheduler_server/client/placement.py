"""What does the scheduler answer?"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Self

from scheduler_api.v1 import decision_pb2, schedule_service_pb2, task_pb2
from scheduler_server.client.enums import BlockingReason, DecisionCause, DecisionSource, TaskState
from scheduler_server.client.outcome import Outcome
from scheduler_server.client.spans import read_ms, read_timestamp


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One part of a score; the score is the sum of value times weight."""

    name: str
    value: float
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A waiting task's prospects. Instants are in UTC; None is what the server did not say.

    `sample_count`: waits that the estimate has learned from; `observed_coverage`: the share of past P90s that held.
    """

    position: int
    expected_start_p50: datetime | None
    expected_start_p90: datetime | None
    blocking: BlockingReason
    blocking_detail: str
    as_of: datetime | None = None
    sample_count: int = 0
    observed_coverage: float | None = None

    @classmethod
    def from_proto(cls, message: task_pb2.Waiting) -> Self:
        """The message as read from the wire."""
        p50, p90 = message.expected_start_p50, message.expected_start_p90
        return cls(
            position=message.position,
            expected_start_p50=read_timestamp(p50) if message.HasField("expected_start_p50") else None,
            expected_start_p90=read_timestamp(p90) if message.HasField("expected_start_p90") else None,
            blocking=BlockingReason(message.blocking),
            blocking_detail=message.blocking_detail,
            as_of=read_timestamp(message.as_of) if message.HasField("as_of") else None,
            sample_count=message.sample_count,
            observed_coverage=message.observed_coverage if message.HasField("observed_coverage") else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where a task stands after Assign, and why.

    While it waits there is no decision: `worker_id`, `lease_id`, `decision_id` and `reasoning` are "", the
    predictions and the score None, and `waiting` has the prospects. `outcome` is there once it has ended.
    `replayed`: this request had been answered before. `explanation` is there where `explain=True` asked for
    it. `response` is the whole message, for what has no field here.
    """

    state: TaskState
    worker_id: str
    lease_id: str
    decision_id: str
    predicted_wait: timedelta | None
    predicted_duration: timedelta | None
    score: float | None
    terms: tuple[Term, ...]
    source: DecisionSource
    cause: DecisionCause
    scorer: str
    reasoning: str
    replayed: bool
    waiting: Waiting | None
    outcome: Outcome | None
    explanation: decision_pb2.Explanation | None = field(repr=False)
    response: schedule_service_pb2.AssignResponse = field(repr=False)

    @classmethod
    def from_proto(cls, message: schedule_service_pb2.AssignResponse) -> Self:
        """The message as read from the wire."""
        decision = message.decision
        decided = message.HasField("decision")
        return cls(
            state=TaskState(message.state),
            worker_id=decision.worker_id,
            lease_id=decision.lease_id,
            decision_id=decision.decision_id,
            predicted_wait=read_ms(decision.predicted_wait_ms) if decided else None,
            predicted_duration=read_ms(decision.predicted_duration_ms) if decided else None,
            score=decision.score if decided else None,
            terms=tuple(Term(name=term.name, value=term.value, weight=term.weight) for term in decision.terms),
            source=DecisionSource(decision.source),
            cause=DecisionCause(decision.cause),
            scorer=decision.scorer,
            reasoning=decision.reasoning,
            replayed=message.replayed,
            waiting=Waiting.from_proto(message.waiting) if message.HasField("waiting") else None,
            outcome=Outcome.from_proto(message.outcome) if message.HasField("outcome") else None,
            explanation=decision.explanation if decision.HasField("explanation") else None,
            response=message,
        )
