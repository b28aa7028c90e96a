"""The five views, and one worker: each from answers to lines."""

from collections.abc import Sequence
from typing import Any

from scheduler_api.v1 import admin_service_pb2 as api
from scheduler_api.v1 import decision_pb2, task_pb2
from scheduler_server.schedctl import figures, fleet, text, waiting
from scheduler_server.schedctl.commands import events, predictions, queue, worker
from scheduler_server.schedctl.figures import counted
from scheduler_server.schedctl.table import Column, Line, Segment, lay_out
from scheduler_server.schedctl.top.feed import Seen
from scheduler_server.schedctl.top.state import MOST, State, View

_LABEL = 18
_MARK = 2  # columns of the mark before the chosen line


def body(state: State, seen: Seen, *, wide: int, room: int) -> list[Line]:
    """What is looked at, in at most `room` lines."""
    if state.worker_id is not None:
        return _worker(state, seen, wide, room)
    match state.view:
        case View.WORKERS:
            return _workers(state, seen, wide, room)
        case View.QUEUE:
            return _queue(state, seen, wide, room)
        case View.DECISIONS:
            return _decisions(seen, wide)
        case View.ACCURACY:
            return _accuracy(state, seen, wide, room)
        case View.EVENTS:
            return _events(state, seen, room)


def chosen_worker(state: State, seen: Seen) -> str | None:
    """The id on the chosen line of the workers."""
    listed = seen.workers.workers
    if state.view is not View.WORKERS or state.worker_id is not None or not state.chosen < len(listed):
        return None
    return listed[state.chosen].worker_id


def blocking(reason: int) -> str:
    """A blocking reason in words."""
    return figures.word(task_pb2.BlockingReason, reason)


def _workers(state: State, seen: Seen, wide: int, room: int) -> list[Line]:
    listed, total = seen.workers.workers, seen.workers.total_size
    if not listed:
        state.fit(0, 1)
        return [[("no workers match" if state.filter else "no workers", "dim")]]
    state.fit(min(total, MOST), room - 2 if total > room - 1 else room - 1)
    lines = _chosen_from(fleet.columns(), listed, state, wide)
    if len(lines) == 1:  # moved to where nothing was asked for yet
        lines.append([("asking ...", "dim")])
    if total > state.page:
        last = min(state.top + state.page, total)
        beyond = f"; no further than {MOST:,}: / filters" if last == MOST < total else ""
        lines.append([(f"{state.top + 1:,} to {last:,} of {counted(total, 'worker')}{beyond}", "dim")])
    return lines


def _chosen_from(columns: Sequence[Column[Any]], rows: Sequence[Any], state: State, wide: int) -> list[Line]:
    """A head and the rows in sight, the chosen one marked."""
    sight = rows[state.top : state.top + state.page]
    laid = lay_out(columns, sight, columns_wide=wide - _MARK)
    lines: list[Line] = [[(" " * _MARK, ""), *laid.head]]
    for number, row in enumerate(laid.rows, start=state.top):
        if number != state.chosen:
            lines.append([(" " * _MARK, ""), *row])
            continue
        said = "> " + "".join(part for part, _ in row)  # a mark as well: not every terminal has reverse video
        lines.append([(said + " " * (wide - text.width(said)), "chosen")])
    return lines


def _worker(state: State, seen: Seen, wide: int, room: int) -> list[Line]:
    if seen.wish.worker_id != state.worker_id:
        return [[(f"asking for {text.shown(state.worker_id or '')} ...", "dim")]]
    if seen.worker is None:
        return [[(seen.missing, "bad")], [("Esc goes back", "dim")]]
    now = worker.now_of(seen.worker)
    lines = _facts(worker.facts(seen.worker, now), wide)
    if seen.worker.leases:
        laid = lay_out(fleet.lease_columns(now), seen.worker.leases, columns_wide=wide)
        lines += [[], laid.head, *laid.rows]
    about = [event for event in seen.events if event.worker_id == state.worker_id]
    if about:
        lines += [[], [("last events", "head")], *(events.line(event) for event in reversed(about))]
    state.fit(max(1, len(lines) - room + 1), 1)  # the chosen line is the first in sight: it scrolls
    return lines[state.chosen :]


def _facts(pairs: Sequence[tuple[str, str | Segment]], wide: int) -> list[Line]:
    lines: list[Line] = []
    for name, value in pairs:
        said, style = (value, "") if isinstance(value, str) else value
        for number, part in enumerate(text.wrapped(text.shown(said), max(10, wide - _LABEL))):
            lines.append([(f"{'' if number else name:{_LABEL}}", "dim"), (part, style)])
    return lines


def _queue(state: State, seen: Seen, wide: int, room: int) -> list[Line]:
    """The tasks that wait, in their order; the header has said the rest of it."""
    facts = queue.facts(seen.load, seen.status.policy, seen.accuracy.overall)
    tasks = seen.waiting.tasks
    if seen.wish.view is not View.QUEUE or not tasks:
        state.fit(0, 1)
        return _facts(facts, wide)
    lines = [*_facts(facts[-2:], wide), []]
    state.fit(min(seen.waiting.total_size, MOST), room - len(lines) - 1)
    listed = _chosen_from(waiting.columns(), tasks, state, wide)
    return [*lines, *listed] if len(listed) > 1 else [*lines, *listed, [("asking ...", "dim")]]


def _decisions(seen: Seen, wide: int) -> list[Line]:
    kinds = sorted(seen.status.decisions, key=lambda each: (-each.count, each.source, each.cause))
    total = sum(each.count for each in kinds)
    if not kinds:
        return [[("no decisions in this run", "dim")]]

    def source(each: api.DecisionCount) -> Segment:
        fallback = each.source == decision_pb2.DECISION_SOURCE_FALLBACK
        return figures.word(decision_pb2.DecisionSource, each.source), "warn" if fallback else "good"

    def rate(each: api.DecisionCount) -> str:
        found = seen.rates.get((each.source, each.cause))
        return figures.ABSENT if found is None else f"{found:.1f}"

    columns: list[Column[api.DecisionCount]] = [
        Column(title="SOURCE", cell=source),
        Column(title="CAUSE", cell=lambda each: figures.word(decision_pb2.DecisionCause, each.cause)),
        Column(title="DECISIONS", cell=lambda each: figures.count(each.count), right=True),
        Column(title="SHARE", cell=lambda each: figures.share(each.count / total), right=True),
        Column(title="PER SECOND", cell=rate, right=True),
    ]
    laid = lay_out(columns, kinds, columns_wide=wide)
    policy: list[Line] = [[], [(f"decided by {seen.status.policy.predictor} and {seen.status.policy.scorer}", "dim")]]
    policy += [
        [(f"breaker of {each.task_type}: {figures.word(api.BreakerState, each.state)}", "warn")]
        for each in seen.status.type_breakers
    ]
    return [laid.head, *laid.rows, *policy]


def _accuracy(state: State, seen: Seen, wide: int, room: int) -> list[Line]:
    if seen.wish.view is not View.ACCURACY:
        return [[("asking ...", "dim")]]
    rows: list[Any] = [row for row in seen.accuracy.rows if state.filter.lower() in row.task_type.lower()]
    if not state.filter:
        rows.append(api.AccuracyRow(accuracy=seen.accuracy.overall))
    state.fit(len(rows), room - 1)
    return _chosen_from(predictions.COLUMNS, rows, state, wide)


def _events(state: State, seen: Seen, room: int) -> list[Line]:
    """The newest first, so that what happens is seen at once."""
    lines = [events.line(event) for event in reversed(seen.events)]
    if state.filter:
        wanted = state.filter.lower()
        lines = [line for line in lines if wanted in "".join(said for said, _ in line).lower()]
    if not lines:
        return [[("no events match" if state.filter else "no events", "dim")]]
    state.fit(max(1, len(lines) - room + 1), 1)
    return lines[state.chosen :]
