"""Decisions and outcomes for tests of the log: plain, numbered, and as many as are wanted."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from scheduler_server.model.decision import Candidate, Cause, Decision, Explanation, Rejection, Source
from scheduler_server.model.outcome import OutcomeStatus
from scheduler_server.model.prediction import Prediction
from scheduler_server.model.task import Task, TaskKey
from scheduler_server.storage.decision_log import Batch, Decided, Entry, Finished, Sampled
from scheduler_server.storage.decision_log.flatten import flatten
from scheduler_server.storage.decision_log.rows import Table

START = 1_900_000_020.0
"""A wall second at the begin of a minute, far enough ahead that no retention forgets it."""

TERMS = (("wait", 1.0, 0.4), ("load", 0.5, 0.4), ("priority", 0.5, 0.2))
PREDICTION = Prediction(100.0, 110.0, 90.0, 200.0, 0.75, 30, "type=resize", "adaptive")


def decision(number: int = 1, **changes: Any) -> Decision:
    made = Decision(
        decision_id=f"d-run1-{number}",
        task=TaskKey("tenant", f"task-{number}", 1),
        task_type="resize",
        lease_id=f"l-run1-{number}",
        worker_id=f"w-{number % 4}",
        wait_ms=0.0,
        duration_ms=100.0,
        score=0.75,
        terms=TERMS,
        source=Source.PREDICTED,
        cause=Cause.BEST_SCORE,
        scorer="weighted",
        policy_revision=3,
        incarnation="run1",
        decided_at=START + number,
        prediction=PREDICTION,
        candidates=4,
        degraded=False,
    )
    return made._replace(**changes)


def decided(number: int = 1, *, about: dict[str, Any] | None = None, **changes: Any) -> Decided:
    return Decided(decision(number, **changes), "feature", 0.5, "")._replace(**(about or {}))


def finished(
    number: int = 1, actual_ms: float | None = 100.0, *, about: dict[str, Any] | None = None, **changes: Any
) -> Finished:
    """A success after `actual_ms` on a worker of speed 1, ended a tenth of a second after the decision."""
    made = decision(number, **changes)
    task = Task(*made.task, made.task_type, "feature")
    done = Finished(
        made, task, OutcomeStatus.SUCCEEDED, actual_ms, "", "", made.decided_at + 0.01, made.decided_at + 0.1, 1.0
    )
    return done._replace(**(about or {}))


def sampled(at: float, worker_id: str, slots: int, running: int, **changes: Any) -> Sampled:
    made = Sampled(START + at, worker_id, "healthy", "tracked", 0.5, 0.25, 0.4, running, slots, running, 60.0)
    return made._replace(**changes)


EXPLAINED = Explanation(
    (
        Candidate("w-1", 0.75, TERMS, Rejection.CANDIDATE, 3, 0.4, 1.0, 0.0, 100.0),
        Candidate("w-2", None, (), Rejection.CANDIDATE, 1, 0.8, 0.5, 0.0, 200.0),
    ),
    2,
    ((Rejection.NO_FREE_SLOT, 7), (Rejection.LABEL, 2)),
    0.25,
)


def batch(entries: Iterable[Entry], number: int = 1, incarnation: str = "run1", first: int = 1) -> Batch:
    """One batch, its entries numbered from `first`."""
    rows: dict[Table, list[tuple[Any, ...]]] = defaultdict(list)
    for at, entry in enumerate(entries, first):
        flatten(type(entry), entry, incarnation, at, rows)
    return Batch(incarnation, number, dict(rows))
