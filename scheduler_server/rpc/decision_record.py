"""A decision and what came of it, as a message and as text."""

from typing import Any

from scheduler_server.assignment.ledger import TaskRecord
from scheduler_server.assignment.telling import decision_text, shown
from scheduler_server.model.outcome import Outcome, OutcomeStatus
from scheduler_server.rpc import encode
from scheduler_server.storage.decision_log import LoggedDecision, LoggedOutcome


class Told:
    """What is known of a decision: as logged, and when its task started, which a live one may have and no outcome."""

    def __init__(self, logged: LoggedDecision, started_at: float | None) -> None:
        self.logged = logged
        self.started_at = started_at

    @classmethod
    def live(cls, record: TaskRecord) -> "Told":
        """From the ledger."""
        task = record.task
        waited = record.submitted_wall < record.placed_wall
        started_at = record.started_wall or None
        ended = None
        if not record.live:
            ended = LoggedOutcome(record.outcome, started_at, record.ended_wall, None)
        logged = LoggedDecision(
            record.decision,
            task.category,
            task.priority,
            task.caller_choice,
            record.submitted_wall if waited else None,
            record.expected if waited else None,
            task.trace.trace_id if task.trace is not None else "",
            record.applied,
            ended,
        )
        return cls(logged, started_at)

    @classmethod
    def kept(cls, logged: LoggedDecision) -> "Told":
        """From the log. A row has the run that wrote it, which after a kill is not the one that decided."""
        decision = logged.decision
        made_by = decision.decision_id.split("-")
        if len(made_by) == 3 and made_by[1] != decision.incarnation:  # noqa: PLR2004 -- "d", the run, a number
            logged = logged._replace(decision=decision._replace(incarnation=made_by[1]))
        return cls(logged, None if logged.outcome is None else logged.outcome.started_at)

    # ------------------------------------------------------------------ figures

    @property
    def came_at(self) -> float:
        """When its task came, wall seconds."""
        logged = self.logged
        return logged.decision.decided_at if logged.enqueued_at is None else logged.enqueued_at

    @property
    def outcome(self) -> Outcome | None:
        """How it ended, where somebody said."""
        return None if self.logged.outcome is None else self.logged.outcome.outcome

    @property
    def duration_ms(self) -> float | None:
        """How long it took."""
        return None if self.outcome is None else self.outcome.duration_ms

    @property
    def error(self) -> float | None:
        """Actual less predicted duration, over the actual one; of successes, which is what predictions are of."""
        outcome, actual_ms = self.outcome, self.duration_ms
        if outcome is None or outcome.status is not OutcomeStatus.SUCCEEDED or not actual_ms:
            return None
        return (actual_ms - self.logged.decision.duration_ms) / actual_ms


def fill(message: Any, told: Told, *, explained: bool) -> None:
    """Fill a DecisionRecord."""
    logged = told.logged
    decision = logged.decision if explained else logged.decision._replace(explanation=None)
    encode.decision(message.decision, decision)
    message.task_type = decision.task_type
    message.category = logged.category
    message.priority = logged.priority
    if told.outcome is not None:
        encode.outcome(message.outcome, told.outcome)
    if told.started_at is not None:
        encode.set_span(message.actual_wait, max(0.0, told.started_at - told.came_at))
    if told.duration_ms is not None:
        encode.set_span(message.actual_duration, told.duration_ms / 1_000.0)
    if told.error is not None:
        message.duration_error = told.error
    for override_id, effect in logged.overrides:
        message.overrides.add(override_id=override_id, effect=effect)
    if logged.enqueued_at is not None:
        encode.set_instant(message.enqueued_at, logged.enqueued_at)
    if logged.outcome is not None:
        encode.set_instant(message.ended_at, logged.outcome.ended_at)
    message.caller_choice = logged.caller_choice
    if logged.expected is not None:
        encode.waiting(message.predicted_wait, logged.expected)
    message.trace_id = logged.trace_id


def text(told: Told) -> str:
    """The whole in a few lines, for people."""
    logged = told.logged
    lines = [decision_text(logged.decision)]
    if logged.enqueued_at is not None:
        lines.append(f"waited: {_ms(1_000.0 * (logged.decision.decided_at - logged.enqueued_at))}{_promised(told)}")
    if logged.caller_choice:
        same = "the same worker" if logged.caller_choice == logged.decision.worker_id else shown(logged.caller_choice)
        lines.append(f"its caller would have chosen: {same}")
    lines += [f"override {shown(name)}: {shown(effect)}" for name, effect in logged.overrides]
    lines.append(f"came of it: {_end(told)}")
    return "\n".join(lines)


def _promised(told: Told) -> str:
    """What it was told when it began to wait, and whether that held."""
    expected, decision = told.logged.expected, told.logged.decision
    if expected is None or expected.start_p50 is None or expected.start_p90 is None:
        return ""
    late = decision.decided_at > expected.start_p90
    p50, p90 = (_ms(1_000.0 * max(0.0, each - told.came_at)) for each in (expected.start_p50, expected.start_p90))
    return f"; it was told {p50}, at the latest {p90}, which {'did not hold' if late else 'held'}"


def _end(told: Told) -> str:
    logged, outcome = told.logged, told.outcome
    if logged.outcome is None:
        return "it has begun" if told.started_at is not None else "nothing yet"
    if outcome is None:
        return "it is over; nobody said how it ended"
    said = outcome.status.name.lower().replace("_", " ")
    if told.duration_ms is not None:
        said += f" after {_ms(told.duration_ms)}, predicted {_ms(logged.decision.duration_ms)}"
    if told.error is not None and told.duration_ms is not None and logged.decision.duration_ms > 0.0:
        times = told.duration_ms / logged.decision.duration_ms
        said += f", {times:.2f} times that"
    failed = ": ".join(shown(part) for part in (outcome.error_kind, outcome.error_message) if part)
    return f"{said}; {failed}" if failed else said


def _ms(value: float) -> str:
    if value < 1_000.0:  # noqa: PLR2004 -- a second
        return f"{value:.0f} ms"
    return f"{value / 1_000.0:.3g} s" if value < 1e6 else f"{value / 1_000.0:.0f} s"  # noqa: PLR2004 -- of seconds, three digits or all
