"""The tables of the log: one NamedTuple each, whose fields are the columns, in order, in every store.

Instants are microseconds since 1970 (UTC), durations milliseconds. A closed set is told by the name of its member, a
structure by its JSON. `incarnation` and `sequence` name a row for good: the run of the server that wrote it, and its
place in that run. Flags are 0 or 1, so that sums of them count.
"""

from enum import StrEnum
from typing import Any, NamedTuple


class Table(StrEnum):
    """Names of the tables."""

    DECISIONS = "decisions"
    CANDIDATES = "candidates"
    OUTCOMES = "outcomes"
    HEARTBEATS = "heartbeats"
    EVENTS = "events"
    SHADOW = "shadow_decisions"
    AUDIT = "audit"


class DecisionRow(NamedTuple):
    """A decision. `waited_ms` is from enqueued to decided, 0 where it did not wait.

    `expected_p50` and `expected_p90` are what it was told of its start when it began to wait; the `wait_*_held` flags
    say which came true. `rejections` are pairs of reason and count, `terms` triples, `changes` the fields of `Change`,
    `overrides` pairs of id and effect.
    """

    at: int
    incarnation: str
    sequence: int
    decision_id: str
    lease_id: str
    tenant: str
    task_id: str
    attempt: int
    task_type: str
    category: str
    priority: float
    worker_id: str
    wait_ms: float
    duration_ms: float
    score: float
    terms: str
    source: str
    cause: str
    scorer: str
    policy_revision: int
    degraded: int
    candidates: int
    explained: int
    candidate_count: int
    rejections: str
    margin: float | None
    changes: str
    point_ms: float | None
    mean_ms: float | None
    p50_ms: float | None
    p90_ms: float | None
    confidence: float | None
    sample_count: int
    prediction_key: str
    predictor: str
    enqueued_at: int | None
    expected_p50: int | None
    expected_p90: int | None
    expected: str
    waited_ms: float
    wait_bucket: int
    wait_p50_judged: int
    wait_p50_held: int
    wait_p90_judged: int
    wait_p90_held: int
    caller_choice: str
    trace_id: str
    overrides: str


class CandidateRow(NamedTuple):
    """A worker that a decision looked at; incarnation and sequence are the decision's, `place` from 0, best first."""

    at: int
    incarnation: str
    sequence: int
    place: int
    decision_id: str
    worker_id: str
    score: float | None
    terms: str
    rejection: str
    free_slots: int
    load: float
    speed: float
    wait_ms: float
    duration_ms: float


class OutcomeRow(NamedTuple):
    """How a lease ended, `at` its end. One decision has several where something was told late; the last one counts.

    `normal_ms` is the duration on a worker of speed 1, which predictions are judged by and learned from. `judged` says
    that there was a success, a duration and a prediction; then the other flags and `bias` mean something. `about` is
    what of the task a predictor learns from.
    """

    at: int
    incarnation: str
    sequence: int
    decision_id: str
    lease_id: str
    tenant: str
    task_id: str
    attempt: int
    task_type: str
    category: str
    worker_id: str
    status: str
    duration_ms: float | None
    normal_ms: float | None
    error_kind: str
    error_message: str
    decided_at: int
    started_at: int | None
    predictor: str
    point_ms: float | None
    completed: int
    failed: int
    judged: int
    within_25: int
    within_2: int
    p50_held: int
    p90_held: int
    bias: float
    error_bucket: int
    about: str


class HeartbeatRow(NamedTuple):
    """A sample of a worker, which stands for the `covers_ms` before it. Worker "" is the fleet: sums, and the queue.

    `busy_ms` and `present_ms` are slot time. `queue_depth` of the fleet is how many tasks wait.
    """

    at: int
    incarnation: str
    sequence: int
    worker_id: str
    health: str
    accounting: str
    cpu: float
    memory: float
    load: float
    queue_depth: int
    slots: int
    running: int
    covers_ms: float
    busy_ms: float
    present_ms: float
    waiting_ms: float


class EventRow(NamedTuple):
    """Something that happened, as operators are told it; `number` counts within the run."""

    at: int
    incarnation: str
    sequence: int
    number: int
    kind: str
    severity: str
    worker_id: str
    task_type: str
    tenant: str
    task_id: str
    lease_id: str
    subject_id: str
    author: str
    detail: str
    before: str
    after: str


class ShadowRow(NamedTuple):
    """What another policy would have decided, beside what was decided."""

    at: int
    incarnation: str
    sequence: int
    policy: str
    decision_id: str
    tenant: str
    task_id: str
    attempt: int
    task_type: str
    live_worker_id: str
    worker_id: str
    agreed: int
    live_wait_ms: float
    wait_ms: float
    live_duration_ms: float
    duration_ms: float
    score: float
    source: str
    cause: str
    error: str


class AuditRow(NamedTuple):
    """One change that somebody made or tried. `before`, `after` and `request` are JSON without secrets."""

    at: int
    incarnation: str
    sequence: int
    entry_id: str
    author: str
    role: str
    peer: str
    method: str
    subject_id: str
    reason: str
    before: str
    after: str
    code: int
    request: str


ROWS: dict[Table, Any] = {
    Table.DECISIONS: DecisionRow,
    Table.CANDIDATES: CandidateRow,
    Table.OUTCOMES: OutcomeRow,
    Table.HEARTBEATS: HeartbeatRow,
    Table.EVENTS: EventRow,
    Table.SHADOW: ShadowRow,
    Table.AUDIT: AuditRow,
}
"""The row of each table."""


class Batch(NamedTuple):
    """Rows that are stored together. The same number of the same run is the same batch, which is stored once."""

    incarnation: str
    number: int
    rows: dict[Table, list[tuple[Any, ...]]]
