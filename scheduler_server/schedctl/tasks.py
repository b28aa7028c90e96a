"""A task's status in words: shared by `task`, its `-f`, and `deadletters retry`."""

from typing import Any

from scheduler_api.v1 import decision_pb2, schedule_service_pb2, task_pb2
from scheduler_server.schedctl import figures
from scheduler_server.schedctl.figures import seconds_of, span
from scheduler_server.schedctl.fleet import task_name
from scheduler_server.schedctl.table import Segment

STATES = {
    task_pb2.TASK_STATE_WAITING: "warn",
    task_pb2.TASK_STATE_STARTED: "good",
    task_pb2.TASK_STATE_FINISHED: "good",
    task_pb2.TASK_STATE_LOST: "bad",
    task_pb2.TASK_STATE_EXPIRED: "bad",
    task_pb2.TASK_STATE_SET_ASIDE: "bad",
}


def state(status: schedule_service_pb2.TaskStatus) -> Segment:
    """Where it stands; when it has ended, how."""
    said = figures.word(task_pb2.TaskState, status.state) or "unknown"
    if not status.HasField("outcome"):
        return said, STATES.get(status.state, "")
    how = figures.word(task_pb2.OutcomeStatus, status.outcome.status)
    took = f" after {figures.span_in(status.outcome, 'duration')}" if status.outcome.HasField("duration") else ""
    good = status.outcome.status == task_pb2.OUTCOME_STATUS_SUCCEEDED
    return f"{said}: {how}{took}" if how != said else said, "good" if good else "bad"


def facts(status: schedule_service_pb2.TaskStatus, now: float | None) -> list[tuple[str, str | Segment]]:
    """All that is known of it, in the order in which it happened; what is not known yet is left out."""
    said: list[tuple[str, str | Segment]] = [
        ("task", (task_name(status.task), "strong")),
        ("type", status.task_type),
        ("state", state(status)),
        ("submitted", _at(status, "submitted_at", now)),
    ]
    if status.HasField("waiting"):
        said += _waiting(status.waiting, now)
    if status.HasField("decision"):
        said += _decision(status.decision)
    said += [
        ("placed", _at(status, "placed_at", now)),
        ("started", _at(status, "started_at", now)),
        ("expected end", _at(status, "predicted_end", now)),
        ("nine in ten by", _at(status, "predicted_end_p90", now)),
        ("ended", _at(status, "ended_at", now)),
    ]
    if status.HasField("outcome"):
        error = ": ".join(part for part in (status.outcome.error_kind, status.outcome.error_message) if part)
        said += [
            ("error", (error, "bad") if error else ""),
            ("result", figures.size(len(status.outcome.result)) if status.outcome.result else ""),
        ]
    return [(name, value) for name, value in said if value]


def _at(message: Any, field: str, now: float | None) -> str:
    return figures.instant_in(message, field, now) if message.HasField(field) else ""


def _waiting(waiting: task_pb2.Waiting, now: float | None) -> list[tuple[str, str | Segment]]:
    now = seconds_of(waiting.as_of) if waiting.HasField("as_of") else now
    ahead = "next" if not waiting.position else f"{figures.counted(waiting.position, 'task')} ahead"
    trust = f"learned from {figures.counted(waiting.sample_count, 'wait')}"
    if waiting.HasField("observed_coverage"):
        trust += f"; {figures.share(waiting.observed_coverage)} of such promises held"
    blocking = figures.word(task_pb2.BlockingReason, waiting.blocking)
    return [
        ("position", ahead),
        ("blocked by", (waiting.blocking_detail or blocking, "warn") if waiting.blocking else ""),
        ("expected start", _at(waiting, "expected_start_p50", now)),
        ("nine in ten by", _at(waiting, "expected_start_p90", now)),
        ("that estimate", trust),
    ]


def _decision(decision: decision_pb2.Decision) -> list[tuple[str, str | Segment]]:
    source = figures.word(decision_pb2.DecisionSource, decision.source)
    cause = figures.word(decision_pb2.DecisionCause, decision.cause)
    said: list[tuple[str, str | Segment]] = [
        ("worker", (decision.worker_id, "strong")),
        ("lease", decision.lease_id),
        ("decision", f"{decision.decision_id}, {source} ({cause}), policy revision {decision.policy_revision}"),
        ("why", decision.reasoning),
        (
            "predicted",
            f"{span(decision.predicted_wait_ms / 1_000)} wait, {span(decision.predicted_duration_ms / 1_000)} duration",
        ),
    ]
    if decision.HasField("prediction"):
        made = decision.prediction
        said.append(
            (
                "prediction",
                f"half within {span(made.p50_ms / 1_000)}, nine in ten within {span(made.p90_ms / 1_000)};"
                f" by {made.predictor} from {figures.counted(made.sample_count, 'outcome')} of {made.key},"
                f" confidence {made.confidence:.2f}",
            )
        )
    return said
