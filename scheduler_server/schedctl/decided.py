"""Decisions with what came of them: shared by `decisions` and `task`."""

from typing import Any

from scheduler_api.v1 import admin_service_pb2 as api
from scheduler_api.v1 import decision_pb2, task_pb2
from scheduler_server.schedctl import figures
from scheduler_server.schedctl.figures import ABSENT, seconds_of, span, span_in
from scheduler_server.schedctl.fleet import task_name
from scheduler_server.schedctl.table import Column, Segment

_FAR_OFF = 0.5
"""An outcome that differs from its prediction by more than half of it is worth a look."""


def outcome(record: api.DecisionRecord) -> Segment:
    """How it ended."""
    if not record.HasField("outcome"):
        return ("over", "dim") if record.HasField("ended_at") else (ABSENT, "")
    said = figures.word(task_pb2.OutcomeStatus, record.outcome.status)
    return said, "good" if record.outcome.status == task_pb2.OUTCOME_STATUS_SUCCEEDED else "bad"


def waited(record: api.DecisionRecord) -> str:
    """Time from when its task came to the decision."""
    if not record.HasField("enqueued_at"):
        return "0s"
    return span(max(0.0, seconds_of(record.decision.decided_at) - seconds_of(record.enqueued_at)))


def predicted(record: api.DecisionRecord) -> str:
    """How long it was to take there."""
    return span(record.decision.predicted_duration_ms / 1_000.0)


def off(record: api.DecisionRecord) -> Segment:
    """By how much it took longer (+) or shorter (-) than predicted, of what it really took."""
    if not record.HasField("duration_error"):
        return ABSENT, ""
    return f"{record.duration_error:+.0%}", "warn" if abs(record.duration_error) > _FAR_OFF else ""


def how(record: api.DecisionRecord) -> Segment:
    """How it came about: the cause, with its source where that is not the prediction."""
    decision = record.decision
    cause = figures.word(decision_pb2.DecisionCause, decision.cause)
    if decision.source == decision_pb2.DECISION_SOURCE_PREDICTED:
        return cause, ""
    return f"{figures.word(decision_pb2.DecisionSource, decision.source)}: {cause}", "warn"


def came_of_it(record: api.DecisionRecord) -> list[tuple[str, str | Segment]]:
    """What a decision says beyond its task's status."""
    said: list[tuple[str, str | Segment]] = []
    if record.HasField("enqueued_at"):
        said.append(("waited", waited(record) + _promised(record)))
    if record.HasField("actual_duration"):
        error, style = off(record)
        against = "" if error == ABSENT else f" ({error})"
        said.append(("took", (f"{span_in(record, 'actual_duration')}, predicted {predicted(record)}{against}", style)))
    if record.caller_choice:
        said.append(("its caller", f"would have chosen {record.caller_choice}"))
    said += [("override", f"{each.override_id}: {each.effect}") for each in record.overrides]
    if record.trace_id:
        said.append(("trace", record.trace_id))
    return said


def _promised(record: api.DecisionRecord) -> str:
    told = record.predicted_wait
    if not told.HasField("expected_start_p90"):
        return ""
    came = seconds_of(record.enqueued_at)
    p50, p90 = (seconds_of(each) - came for each in (told.expected_start_p50, told.expected_start_p90))
    return f"; it was told {span(p50)}, at the latest {span(p90)}"


def facts(record: api.DecisionRecord) -> list[tuple[str, str | Segment]]:
    """A task that only the history knows."""
    decision = record.decision
    said: list[tuple[str, str | Segment]] = [
        ("task", (task_name(decision.task), "strong")),
        ("type", record.task_type),
        ("category", record.category),
        ("placed", figures.instant(decision.decided_at)),
        ("worker", (decision.worker_id, "strong")),
        ("lease", decision.lease_id),
        ("decision", decision.decision_id),
        ("how", how(record)),
        ("why", decision.reasoning),
        *came_of_it(record),
        ("outcome", outcome(record)),
        ("ended", figures.instant_in(record, "ended_at") if record.HasField("ended_at") else ""),
        ("error", (": ".join(filter(None, (record.outcome.error_kind, record.outcome.error_message))), "bad")),
    ]
    return [(name, value) for name, value in said if (value if isinstance(value, str) else value[0])]


COLUMNS: list[Column[Any]] = [
    Column(title="DECIDED", cell=lambda row: figures.instant(row.decision.decided_at)[:19], spare=1),
    Column(title="TASK", cell=lambda row: task_name(row.decision.task), cuts=True),
    Column(title="TYPE", cell=lambda row: row.task_type, cuts=True, spare=4),
    Column(title="WORKER", cell=lambda row: row.decision.worker_id, cuts=True),
    Column(title="HOW", cell=how, spare=3),
    Column(title="WAITED", cell=waited, right=True, spare=2),
    Column(title="PREDICTED", cell=predicted, right=True),
    Column(title="TOOK", cell=lambda row: span_in(row, "actual_duration"), right=True),
    Column(title="OFF", cell=off, right=True, spare=5),
    Column(title="OUTCOME", cell=outcome),
    Column(title="DECISION", cell=lambda row: row.decision.decision_id, wide=True),
    Column(title="SCORE", cell=lambda row: f"{row.decision.score:.3f}", right=True, wide=True),
    Column(title="SCORER", cell=lambda row: row.decision.scorer, wide=True),
    Column(title="POLICY", cell=lambda row: str(row.decision.policy_revision), right=True, wide=True),
    Column(title="WHY", cell=lambda row: row.decision.reasoning, wide=True),
]
