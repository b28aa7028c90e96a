"""Entries into rows: what the event loop has not done. A few microseconds each.

Entries come packed and unpacked again (`packing.py`), so that everything in them is told by its place: the types of the
model are lists here, members of enumerations their numbers. What the model gains at their ends is not kept until it has
a column.
"""

from collections.abc import Callable, Sequence
from math import isfinite
from typing import Any, TypeAlias

import msgspec

from scheduler_server.model.decision import Cause, Rejection, Source
from scheduler_server.model.fleet_event import FleetEventKind
from scheduler_server.model.outcome import OutcomeStatus
from scheduler_server.storage.decision_log.buckets import ERROR_LEAST, WAIT_LEAST_MS, bucket
from scheduler_server.storage.decision_log.entries import (
    Audited,
    Decided,
    Finished,
    Happened,
    Sampled,
    Shadowed,
)
from scheduler_server.storage.decision_log.rows import Table

Rows = dict[Table, list[tuple[Any, ...]]]
_Fields: TypeAlias = Sequence[Any]

_JSON = msgspec.json.Encoder()
# Enum members answer `.name` in 0.15 us, a dictionary in 0.03.
_SOURCES = {int(each): each.name for each in Source}
_CAUSES = {int(each): each.name for each in Cause}
_STATUSES = {int(each): each.name for each in OutcomeStatus}
_EVENTS = {int(each): each.name for each in FleetEventKind}
_REJECTIONS = {int(each): each.name for each in Rejection}
_NEAR, _FACTOR = 0.25, 2.0
_UNKNOWN = "UNKNOWN"
_NO_PREDICTION = (None, None, None, None, None, 0, "", "")
_NO_EXPLANATION: tuple[Any, ...] = (0, 0, "", None, "")
_NO_WAIT: tuple[Any, ...] = (None, None, None, "", 0.0, 0, 0, 0, 0, 0)
_NOT_JUDGED: tuple[Any, ...] = (0, 0, 0, 0, 0, 0.0, 0)
_SUCCEEDED = int(OutcomeStatus.SUCCEEDED)
_FAILURES = (int(OutcomeStatus.FAILED), int(OutcomeStatus.TIMED_OUT))


def flatten(kind: type, entry: Sequence[Any], incarnation: str, sequence: int, rows: Rows) -> None:
    """Add the rows of an entry of this kind. Raises where it is none; then nothing was added."""
    _HOW[kind](entry, incarnation, sequence, rows)


def micros(wall_s: float) -> int:
    """Microseconds since 1970."""
    return int(wall_s * 1e6 + 0.5)  # round() takes three times as long


def text(value: Any) -> str:
    """JSON, without spaces; nothing for nothing."""
    return _JSON.encode(value).decode() if value else ""


def _decided(entry: _Fields, incarnation: str, sequence: int, rows: Rows) -> None:
    decision, category, priority, caller_choice, enqueued, expected, trace_id, overrides = entry
    (
        decision_id, (tenant, task_id, attempt), task_type, lease_id, worker_id, wait_ms, duration_ms, score, terms,
        source, cause, scorer, policy_revision, _incarnation, decided_at, prediction, candidates, degraded, explanation,
        *_,
    ) = decision  # fmt: skip
    at = micros(decided_at)
    row = (
        at, incarnation, sequence, decision_id, lease_id, tenant, task_id, attempt, task_type, category, priority,
        worker_id, wait_ms, duration_ms, score, text(terms), _SOURCES[source], _CAUSES[cause], scorer, policy_revision,
        int(degraded), candidates, *(_NO_EXPLANATION if explanation is None else _explained(explanation)),
        *(_NO_PREDICTION if prediction is None else prediction[:8]),
        *(_NO_WAIT if enqueued is None else _waited(at, enqueued, expected)),
        caller_choice, trace_id, text(overrides),
    )  # fmt: skip
    looked_at = [] if explanation is None else _candidates(decision_id, explanation[0], at, incarnation, sequence)
    rows[Table.DECISIONS].append(row)
    if looked_at:
        rows[Table.CANDIDATES] += looked_at


def _waited(at: int, enqueued: float, expected: Any) -> tuple[Any, ...]:
    began = micros(enqueued)
    waited_ms = max(0.0, (at - began) / 1_000.0)
    number = bucket(waited_ms, WAIT_LEAST_MS)
    if expected is None:
        return (began, None, None, "", waited_ms, number, 0, 0, 0, 0)
    _position, start_p50, start_p90, *_ = expected
    p50 = None if start_p50 is None else micros(start_p50)
    p90 = None if start_p90 is None else micros(start_p90)
    held_50, held_90 = p50 is not None and at <= p50, p90 is not None and at <= p90
    judged = (int(p50 is not None), int(held_50), int(p90 is not None), int(held_90))
    return (began, p50, p90, text(expected), waited_ms, number, *judged)


def _explained(explanation: _Fields) -> tuple[Any, ...]:
    _candidates, candidate_count, rejections, margin, changes, *_ = explanation
    counted = [(_REJECTIONS[reason], count) for reason, count in rejections]
    return (1, candidate_count, text(counted), margin, text(changes))


def _candidates(
    decision_id: str, candidates: _Fields, at: int, incarnation: str, sequence: int
) -> list[tuple[Any, ...]]:
    begin = (at, incarnation, sequence)
    found = []
    for place, each in enumerate(candidates):
        worker_id, score, terms, rejection, free_slots, load, speed, wait_ms, duration_ms, *_ = each
        row = (
            *begin, place, decision_id, worker_id, score, text(terms), _REJECTIONS[rejection], free_slots, load, speed,
            wait_ms, duration_ms,
        )  # fmt: skip
        found.append(row)
    return found


def _finished(entry: _Fields, incarnation: str, sequence: int, rows: Rows) -> None:
    decision, task, status, duration_ms, error_kind, error_message, started, ended, speed = entry
    prediction = decision[15]
    succeeded = status == _SUCCEEDED
    normal_ms = None if duration_ms is None else duration_ms * speed
    judged = _NOT_JUDGED
    predictor, point_ms, p50_ms, p90_ms = "", None, 0.0, 0.0
    if prediction is not None:
        point_ms, _mean_ms, p50_ms, p90_ms, _confidence, _count, _key, predictor, *_ = prediction
    if succeeded and point_ms is not None and normal_ms is not None and normal_ms > 0.0 and isfinite(normal_ms):
        bias = point_ms / normal_ms - 1.0
        error = abs(bias)
        judged = (
            1, int(error <= _NEAR), int(1.0 / _FACTOR <= bias + 1.0 <= _FACTOR), int(normal_ms <= p50_ms),
            int(normal_ms <= p90_ms), bias, bucket(error, ERROR_LEAST),
        )  # fmt: skip
    row = (
        micros(ended), incarnation, sequence, decision[0], decision[3], *decision[1], task[3], task[4], decision[4],
        _UNKNOWN if status is None else _STATUSES[status], duration_ms, normal_ms, error_kind, error_message,
        micros(decision[14]), None if started is None else micros(started),
        predictor, point_ms, int(succeeded), int(status in _FAILURES), *judged, about(task),
    )  # fmt: skip
    rows[Table.OUTCOMES].append(row)


def about(task: _Fields) -> str:
    """What of a task tells how long it takes, beside its key, type and category."""
    (
        _tenant, _task_id, _attempt, _type, _category, priority, required, _excluded, labels, features, resources,
        hints, _not_before, _start_by, _loss, _payload, slots, user, _choice, _attempts, attributes, *_,
    ) = task  # fmt: skip
    return text((priority, required, labels, features, resources, hints, slots, user, attributes))


def _sampled(entry: _Fields, incarnation: str, sequence: int, rows: Rows) -> None:
    at, worker_id, *_, queue_depth, slots, running, covers_s = entry
    covers_ms = covers_s * 1_000.0
    waiting_ms = 0.0 if worker_id else queue_depth * covers_ms
    times = (covers_ms, running * covers_ms, slots * covers_ms, waiting_ms)
    if not all(map(isfinite, times)):
        raise ValueError("covers or counts what is not finite")  # a sum by minute could never be read again
    rows[Table.HEARTBEATS].append((micros(at), incarnation, sequence, *entry[1:-1], *times))


def _happened(entry: _Fields, incarnation: str, sequence: int, rows: Rows) -> None:
    event, severity, task_type, tenant, task_id, lease_id, author = entry
    number, at, what, worker_id, detail, before, after, subject, *_ = event
    row = (
        micros(at), incarnation, sequence, number, _EVENTS[what], severity, worker_id, task_type, tenant, task_id,
        lease_id, subject, author, detail, before, after,
    )  # fmt: skip
    rows[Table.EVENTS].append(row)


def _shadowed(entry: _Fields, incarnation: str, sequence: int, rows: Rows) -> None:
    policy, live, worker_id, wait_ms, duration_ms, score, source, cause, error = entry
    decision_id, task, task_type, _lease_id, live_id, live_wait_ms, live_duration_ms, *_ = live
    row = (
        micros(live[14]), incarnation, sequence, policy, decision_id, *task, task_type, live_id, worker_id,
        int(not error and worker_id == live_id), live_wait_ms, wait_ms, live_duration_ms, duration_ms, score, source,
        cause, error,
    )  # fmt: skip
    rows[Table.SHADOW].append(row)


def _audited(entry: _Fields, incarnation: str, sequence: int, rows: Rows) -> None:
    rows[Table.AUDIT].append((micros(entry[0]), incarnation, sequence, *entry[1:]))


_HOW: dict[type, Callable[..., None]] = {
    Decided: _decided,
    Finished: _finished,
    Sampled: _sampled,
    Happened: _happened,
    Shadowed: _shadowed,
    Audited: _audited,
}
