"""Rows back into values of the model."""

from typing import Any

import msgspec

from scheduler_server.model.decision import Candidate, Cause, Change, Decision, Explanation, Rejection, Source, Term
from scheduler_server.model.outcome import Outcome, OutcomeStatus
from scheduler_server.model.prediction import Prediction
from scheduler_server.model.task import Hints, Numbers, Pairs, Prospects, Task, TaskKey
from scheduler_server.storage.decision_log.port import Lesson, LoggedDecision, LoggedOutcome
from scheduler_server.storage.decision_log.rows import CandidateRow, DecisionRow, OutcomeRow

_About = tuple[float, tuple[str, ...], Pairs, Numbers, Numbers, Hints | None, int, str, Pairs]


def _decoder(kind: Any) -> "msgspec.json.Decoder[Any]":
    return msgspec.json.Decoder(kind)


_TERMS = _decoder(tuple[Term, ...])
_COUNTS = _decoder(tuple[tuple[str, int], ...])
_CHANGES = _decoder(tuple[Change, ...])
_PAIRS = _decoder(tuple[tuple[str, str], ...])
_PROSPECTS = _decoder(Prospects)
_ABOUT = _decoder(_About)


def _read(decoder: "msgspec.json.Decoder[Any]", text: str, otherwise: Any) -> Any:
    return decoder.decode(text) if text else otherwise


def seconds(at: int | None) -> float | None:
    """Wall seconds of an instant in microseconds."""
    return None if at is None else at / 1e6


def logged_decision(row: DecisionRow, outcome: OutcomeRow | None, candidates: list[CandidateRow]) -> LoggedDecision:
    """A decision with what came of it. `candidates` are in order of their place."""
    prediction = None
    if row.point_ms is not None:
        prediction = Prediction(
            row.point_ms,
            row.mean_ms or 0.0,
            row.p50_ms or 0.0,
            row.p90_ms or 0.0,
            row.confidence or 0.0,
            row.sample_count,
            row.prediction_key,
            row.predictor,
        )
    explanation = None
    if row.explained:
        counts = _read(_COUNTS, row.rejections, ())
        rejections = tuple((Rejection[name], count) for name, count in counts)
        changes = _read(_CHANGES, row.changes, ())
        looked_at = tuple(map(_candidate, candidates))
        explanation = Explanation(looked_at, row.candidate_count, rejections, row.margin, changes)
    decision = Decision(
        row.decision_id,
        TaskKey(row.tenant, row.task_id, row.attempt),
        row.task_type,
        row.lease_id,
        row.worker_id,
        row.wait_ms,
        row.duration_ms,
        row.score,
        _read(_TERMS, row.terms, ()),
        Source[row.source],
        Cause[row.cause],
        row.scorer,
        row.policy_revision,
        row.incarnation,
        row.at / 1e6,
        prediction,
        row.candidates,
        bool(row.degraded),
        explanation,
    )
    return LoggedDecision(
        decision,
        row.category,
        row.priority,
        row.caller_choice,
        seconds(row.enqueued_at),
        _read(_PROSPECTS, row.expected, None),
        row.trace_id,
        _read(_PAIRS, row.overrides, ()),
        logged_outcome(outcome) if outcome is not None else None,
    )


def _candidate(row: CandidateRow) -> Candidate:
    return Candidate(
        row.worker_id,
        row.score,
        _read(_TERMS, row.terms, ()),
        Rejection[row.rejection],
        row.free_slots,
        row.load,
        row.speed,
        row.wait_ms,
        row.duration_ms,
    )


def logged_outcome(row: OutcomeRow) -> LoggedOutcome:
    """How a decision ended."""
    outcome = None
    if row.status in OutcomeStatus.__members__:
        outcome = Outcome(OutcomeStatus[row.status], row.duration_ms, row.error_message, row.error_kind)
    return LoggedOutcome(outcome, seconds(row.started_at), row.at / 1e6, row.normal_ms)


def lesson(row: OutcomeRow) -> Lesson:
    """What a success teaches."""
    priority, required, labels, features, resources, hints, slots, user, attributes = _ABOUT.decode(row.about)
    task = Task(
        row.tenant,
        row.task_id,
        row.attempt,
        row.task_type,
        category=row.category,
        priority=priority,
        required=required,
        labels=labels,
        features=features,
        resources=resources,
        hints=hints,
        slots=slots,
        user=user,
        attributes=attributes,
    )
    return Lesson(row.at / 1e6, row.decision_id, task, row.normal_ms or 0.0)
