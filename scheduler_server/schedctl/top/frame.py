"""State and answers to lines of exactly the terminal's size: header, one view, keys."""

from scheduler_api.v1 import admin_service_pb2 as api
from scheduler_server.schedctl import figures, text
from scheduler_server.schedctl.commands import queue, status
from scheduler_server.schedctl.paper import clipped
from scheduler_server.schedctl.table import Line, Segment
from scheduler_server.schedctl.top import views
from scheduler_server.schedctl.top.feed import Seen
from scheduler_server.schedctl.top.state import FILTERED, State, View

_BAR = 20
_LOWEST = 14  # lines of a terminal below which the header is one line
_LABEL = 11

_HELP = (
    ("1 to 5, Tab", "workers, queue, decisions, accuracy, events"),
    ("up, down, j, k", "the line above or below; Page Up, Page Down, Home, End"),
    ("Enter", "into the worker on the chosen line: its figures, its leases, its events"),
    ("Esc", "back out of it; out of the list, forget the filter"),
    ("/", "filter by text: ids of workers, task types, events. Enter takes it, Esc leaves it"),
    ("s, r", "sort workers by the next figure; the other way round"),
    ("q, Ctrl-C", "the end"),
)


def frame(state: State, seen: Seen, *, wide: int, high: int, now: float, server: str) -> list[Line]:
    """The screen. `now`: monotonic seconds. Fits `state` to what there is to show."""
    head = _head(seen, now, server)
    if high >= _LOWEST:
        head += [*_summary(seen, min(_BAR, wide // 8)), [], _tabs(state)]
    foot = [_foot(state)]
    room = max(1, high - len(head) - len(foot))
    if state.helping:
        body = [[(f"{keys:18}", "strong"), (what, "")] for keys, what in _HELP]
    elif seen.at is None:
        body = [[("asking ...", "dim")]] if not seen.trouble else []
    else:
        body = views.body(state, seen, wide=wide, room=room)
    body = (body + [[] for _ in range(room)])[:room]
    return [clipped(_safe(line), wide) for line in (head + body + foot)[:high]]


def _safe(line: Line) -> Line:
    """The last gate: whatever a view made of what came from the wire."""
    return [(text.shown(said), style) for said, style in line]


def _head(seen: Seen, now: float, server: str) -> list[Line]:
    told = seen.status
    line: Line = [("schedctl top  ", "strong"), (server, "note")]
    if seen.at is not None:
        line.append((f"  {told.version}  up {figures.span_in(told, 'uptime')}  {figures.time_of_day(told.now)}Z  ", ""))
        line.append((figures.word(api.ServingState, told.serving), status.SERVING.get(told.serving, "bad")))
        if told.raised_alerts:
            line.append((f"  {figures.counted(told.raised_alerts, 'alert')}", "bad"))
        for part in told.degraded:
            line.append((f"  {part.name} degraded", "warn"))
    if not seen.trouble:
        return [line]
    age = "" if seen.at is None else f"{figures.span(now - seen.at)} old: "
    return [line, [(age + seen.trouble, "bad")]]


def _summary(seen: Seen, bar: int) -> list[Line]:
    load, accuracy = seen.load, seen.accuracy.overall
    return [
        [_label("workers"), status.workers(seen.status.workers)],
        [_label("slots"), *_bar(load, bar), (_slots(load), "")],
        [_label("queue"), *_queue(load)],
        [_label("decisions"), (_pace(seen), ""), ("; breaker ", ""), status.breaker(seen.status)],
        [_label("accuracy"), (_accuracy(accuracy), "")],
    ]


def _slots(load: api.GetLoadResponse) -> str:
    taken = f" {load.used_capacity:,} of {load.total_capacity:,} taken ({figures.share_in(load, 'utilization')})"
    return f"{taken}; load {figures.number_in(load, 'mean_load')}, spread {figures.number_in(load, 'spread')}"


def _pace(seen: Seen) -> str:
    total = sum(each.count for each in seen.status.decisions)
    rate = f"{sum(seen.rates.values()):.1f}/s, " if seen.rates else ""
    return f"{rate}{total:,} in this run"


def _label(name: str) -> Segment:
    return f"{name:{_LABEL}}", "dim"


def _bar(load: api.GetLoadResponse, wide: int) -> list[Segment]:
    used = load.utilization if load.HasField("utilization") else 0.0
    full = min(wide, round(used * wide))
    style = "bad" if used >= 1 else "warn" if used >= 0.9 else "good"  # noqa: PLR2004 -- nearly full
    return [("#" * full, style), ("." * (wide - full), "dim")]


def _queue(load: api.GetLoadResponse) -> list[Segment]:
    line: list[Segment] = [queue.waiting(load)]
    if load.queued_tasks:
        oldest, work = figures.span_in(load, "oldest_wait"), figures.span_in(load, "queued_work")
        line.append((f", the oldest for {oldest}, {work} of work", ""))
        line += [(f"; {each.count:,} {views.blocking(each.blocking)}", "") for each in load.blocking]
    return line


def _accuracy(accuracy: api.Accuracy) -> str:
    hits, by_p90 = figures.share_in(accuracy, "within_factor_2"), figures.share_in(accuracy, "p90_coverage")
    said = f"{hits} within 2x, {by_p90} by P90 of {figures.counted(accuracy.sample_count, 'outcome')}"
    waits = figures.share_in(accuracy, "wait_p90_coverage")
    parts = [said if accuracy.sample_count else "nothing to compare yet"]
    return "; ".join(parts if waits == figures.ABSENT else [*parts, f"{waits} of waits by P90"])


def _tabs(state: State) -> Line:
    line: Line = []
    for view in View:
        line += [(f" {view.value} {view.name.lower()} ", "chosen" if view is state.view else "dim"), (" ", "")]
    if state.view is View.WORKERS and state.worker_id is None:
        line.append((f" by {state.sort}{', reversed' if state.backwards else ''}", "note"))
    if state.filter:
        line.append((f"  only {state.filter!r}", "note"))
    return line


def _foot(state: State) -> Line:
    if state.typing is not None:
        return [("filter: ", "strong"), (state.typing, ""), ("_", "dim"), ("   Enter takes it, Esc leaves it", "dim")]
    keys = ["q ends", "? help", "Tab next view"]
    if state.worker_id is not None:
        keys.append("Esc back")
    elif state.view is View.WORKERS:
        keys += ["Enter looks closer", "/ filter", "s sort", "r reverse"]
    elif state.view in FILTERED:
        keys.append("/ filter")
    return [("  ".join(keys), "dim")]
