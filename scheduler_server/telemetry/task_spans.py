"""What becomes of a task, as spans: told by the shell with each change, made of what its record has anyway."""

from collections.abc import Callable
from typing import Any

from opentelemetry.trace import SpanKind

from scheduler_server.assignment.ledger import TaskRecord
from scheduler_server.assignment.queueing import Unplaced
from scheduler_server.assignment.waiting import Waiter
from scheduler_server.model.clock import Now
from scheduler_server.model.decision import Decision
from scheduler_server.model.outcome import OutcomeStatus
from scheduler_server.model.task import Task, TaskState
from scheduler_server.model.trace import Part, Trace, child
from scheduler_server.telemetry.trace_context import REPORTER, REPORTS
from scheduler_server.telemetry.tracing import Describe, Sketch, Tracing


class TaskSpans:
    """Hears of every change of every task; those that are traced get spans, below the one that `Task.trace` names.

    wait: from when the task came, or came back, to its lease, if it waited. dispatch: from the lease to the worker's
    acknowledgement, where the server hands the task over. outcome: from the start (or the lease, where nobody told of a
    start) to the end.
    """

    def __init__(self, tracing: Tracing, now: Callable[[], Now]) -> None:
        self._tracing = tracing
        self._now = now

    # ------------------------------------------------------------------ what the shell tells: see its Changes

    def of_lease(self, record: TaskRecord) -> None:
        """It was granted, or is over."""
        task, decision = record.task, record.decision
        trace = task.trace
        if trace is None or not trace.sampled:
            return
        if record.live:
            if record.submitted_wall < record.placed_wall:
                begin, end = record.submitted_wall, record.placed_wall
                self._add("wait", task, trace, Part.WAIT, begin, end, of_placed, (task, decision))
            return
        state, outcome = record.state, record.outcome
        how = (outcome.status if outcome is not None else state).name
        link = REPORTS.get().get(record.lease_id) or REPORTER.get()
        error = ""
        if outcome is None or outcome.status is not OutcomeStatus.SUCCEEDED:
            error = outcome.error_message[:256] if outcome is not None and outcome.error_message else how.lower()
        begin, end, about = record.started_wall or record.placed_wall, record.ended_wall, (task, decision, how.lower())
        self._add("outcome", task, trace, Part.OUTCOME, begin, end, of_placed, about, error, link)

    def of_moved(self, record: TaskRecord, state: TaskState) -> None:
        """It was acknowledged, or started."""
        task = record.task
        trace = task.trace
        if trace is not None and trace.sampled and state is TaskState.ACKNOWLEDGED:
            begin, end = record.placed_wall, self._now().wall
            self._add("dispatch", task, trace, Part.DISPATCH, begin, end, of_placed, (task, record.decision))

    def of_waiting(self, waiter: Waiter) -> None:
        """It waits from now on."""

    def of_unplaced(self, ended: Unplaced) -> None:
        """It ended without having been placed."""
        task = ended.task
        trace = task.trace
        if trace is not None and trace.sampled:
            begin, end, error = ended.since_wall, ended.ended_wall, ended.state.name.lower()
            self._add("wait", task, trace, Part.WAIT, begin, end, of_task, (task,), error)

    def hold(self) -> None:
        """Spans are told of at once: nobody acts upon them."""

    def release(self) -> None:
        """As above."""

    # ------------------------------------------------------------------ spans

    def _add(
        self, name: str, task: Task, trace: Trace, part: Part, begin: float, end: float, describe: Describe,
        about: tuple[Any, ...], error: str = "", link: Trace | None = None,
    ) -> None:  # fmt: skip
        kind = SpanKind.PRODUCER if part is Part.DISPATCH else SpanKind.INTERNAL
        own = child(trace, task.attempt, part)
        self._tracing.add(Sketch(name, kind, own, trace, begin, end, describe, about, error, link))


def handed_over(task: Task) -> Trace | None:
    """The span that a worker is told of: that of its dispatch."""
    trace = task.trace
    if trace is None or not trace.sampled:
        return trace
    return child(trace, task.attempt, Part.DISPATCH)


def of_task(task: Task) -> dict[str, str | int]:
    """What describes a task."""
    about: dict[str, str | int] = {
        "scheduler.task_id": task.task_id,
        "scheduler.attempt": task.attempt,
        "scheduler.task_type": task.task_type,
    }
    if task.tenant:
        about["scheduler.tenant"] = task.tenant
    return about


def of_placed(task: Task, made: Decision, ended: str = "") -> dict[str, str | int]:
    """The same for one that has a worker; and how it ended."""
    about = of_task(task)
    about |= {
        "scheduler.worker_id": made.worker_id,
        "scheduler.lease_id": made.lease_id,
        "scheduler.decision_id": made.decision_id,
        "scheduler.source": made.source.name.lower(),
        "scheduler.cause": made.cause.name.lower(),
    }
    if ended:
        about["scheduler.outcome"] = ended
    return about
