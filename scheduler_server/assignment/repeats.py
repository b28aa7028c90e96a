"""Requests for a task that is known: the same answer again, or why not."""

from scheduler_server.assignment.effects import Reply
from scheduler_server.assignment.ledger import TaskRecord
from scheduler_server.model.decision import without
from scheduler_server.model.refusal import Reason, Refusal
from scheduler_server.model.task import Task, TaskState

_REPLAYABLE = frozenset({TaskState.PLACED, TaskState.OFFERED, TaskState.ACKNOWLEDGED, TaskState.STARTED})


def same_body(known: Task, asked: Task) -> bool:
    """Do both describe the same work, whatever attempt they name, and whichever trace they belong to?

    Its priority counts as it was asked for: an operator may have changed it since.
    """
    priority = known.priority if known.asked_priority is None else known.asked_priority
    return known._replace(attempt=asked.attempt, trace=asked.trace, priority=priority, asked_priority=None) == asked


def known(latest: TaskRecord, task: Task) -> Reply | None:
    """The answer to a request whose task is known; None when it is a new attempt, to be placed.

    `latest` is the newest attempt known. Who asks for an attempt that the server itself has followed up with another
    is told of that one: to the caller it is the same task.
    """
    record: TaskRecord | None = latest
    while record is not None and record.task.attempt != task.attempt:
        record = record.previous
    if record is None and latest.covers(task.attempt):
        record = latest
    if record is None:
        if task.attempt > latest.task.attempt and not latest.live:
            return None
        return _no(
            Reason.TASK_CONFLICT,
            f"task {task.task_id!r} is known as attempt {latest.task.attempt}"
            + (", which is not over" if latest.live else f"; attempt {task.attempt} is older"),
            task,
        )
    if not same_body(record.task, task):  # the attempt is the same, or the server's own of it
        return _no(
            Reason.TASK_CONFLICT,
            f"task {task.task_id!r}, attempt {task.attempt}, was sent before with a different body",
            task,
        )
    if record.requeued:
        record = latest
    if record.state in _REPLAYABLE:
        return Reply(record.state, record.decision, None, True)
    attempt = record.task.attempt
    if record.state is TaskState.LOST or record.state is TaskState.SET_ASIDE:
        what = "lost" if record.state is TaskState.LOST else "set aside after it was lost"
        return _no(
            Reason.ATTEMPT_LOST,
            f"attempt {attempt} of task {task.task_id!r} was {what} with worker {record.worker_id!r};"
            f" send attempt {attempt + 1}",
            task,
            ("next_attempt", str(attempt + 1)),
        )
    if record.state is TaskState.CANCELLED:
        return _no(Reason.TASK_CANCELLED, f"attempt {attempt} of task {task.task_id!r} was cancelled", task)
    return Reply(record.state, record.decision, record.outcome, True)


def unexplained(answer: Reply) -> Reply:
    """The same for a request that does not ask for an explanation."""
    decision = answer.decision
    if decision is None or decision.explanation is None:
        return answer
    return answer._replace(decision=without(decision))


def _no(reason: Reason, message: str, task: Task, *more: tuple[str, str]) -> Reply:
    about = (("task_id", task.task_id), ("attempt", str(task.attempt)), *more)
    return Reply(None, None, None, False, Refusal(reason, message, about))
