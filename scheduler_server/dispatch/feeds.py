"""Decisions and outcomes as entries, for services that only listen. Fields are documented in docs/dispatch.md."""

from collections.abc import Callable

from scheduler_server.assignment.ledger import TaskRecord
from scheduler_server.assignment.queueing import Unplaced
from scheduler_server.assignment.telling import sentence
from scheduler_server.dispatch.outbox import Fields
from scheduler_server.model.decision import Decision


def decision(made: Decision) -> Callable[[], Fields]:
    """A decision; put into words when it is sent."""

    def fields() -> Fields:
        tenant, task_id, attempt = made.task
        return {
            "task_id": task_id,
            "tenant": tenant,
            "attempt": attempt,
            "task_type": made.task_type,
            "decision_id": made.decision_id,
            "lease_id": made.lease_id,
            "worker_id": made.worker_id,
            "predicted_wait_ms": made.wait_ms,
            "predicted_duration_ms": made.duration_ms,
            "score": made.score,
            "source": made.source.name,
            "cause": made.cause.name,
            "scorer": made.scorer,
            "policy_revision": made.policy_revision,
            "server_incarnation": made.incarnation,
            "decided_at_ms": round(made.decided_at * 1_000),
            "reasoning": sentence(made),
        }

    return fields


def outcome(record: TaskRecord) -> Callable[[], Fields]:
    """How one attempt ended."""
    task, state, ended = record.task, record.state, record.outcome
    lease_id, worker_id, ended_wall, requeued = record.lease_id, record.worker_id, record.ended_wall, record.requeued

    def fields() -> Fields:
        told: Fields = {
            "task_id": task.task_id,
            "tenant": task.tenant,
            "attempt": task.attempt,
            "task_type": task.task_type,
            "state": state.name,
            "lease_id": lease_id,
            "worker_id": worker_id,
            "ended_at_ms": round(ended_wall * 1_000),
        }
        if requeued:
            told["next_attempt"] = task.attempt + 1
        if ended is not None:
            told["status"] = ended.status.name
            if ended.duration_ms is not None:
                told["duration_ms"] = ended.duration_ms
            if ended.error_message:
                told["error_message"] = ended.error_message
            if ended.error_kind:
                told["error_kind"] = ended.error_kind
            if ended.result:
                told["result"] = ended.result
        return told

    return fields


def unplaced(ended: Unplaced) -> Callable[[], Fields]:
    """A task that ended without having been placed."""

    def fields() -> Fields:
        return {
            "task_id": ended.task.task_id,
            "tenant": ended.task.tenant,
            "attempt": ended.task.attempt,
            "task_type": ended.task.task_type,
            "state": ended.state.name,
            "ended_at_ms": round(ended.ended_wall * 1_000),
        }

    return fields
