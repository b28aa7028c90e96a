"""Accuracy and utilisation over time, out of the sums by minute.

A stretch is a whole number of minutes, counted from the first minute of the span; where the span is open, from the
first minute that is kept. A page is some of the groups in order; what a median needs (its histogram) is asked for the
stretches of that page only.
"""

from collections import defaultdict
from math import ceil, floor, sqrt
from typing import TYPE_CHECKING, Any, NamedTuple

from scheduler_server.storage.decision_log.buckets import ERROR_LEAST, WAIT_LEAST_MS, quantile, upper
from scheduler_server.storage.decision_log.paging import place, token
from scheduler_server.storage.decision_log.port import (
    AccuracyFigures,
    AccuracyQuery,
    Page,
    Span,
    UtilizationFigures,
    UtilizationQuery,
)

if TYPE_CHECKING:
    from scheduler_server.storage.decision_log.questions import Dialect

_MINUTE_S = 60
_MEDIAN, _P99 = 0.5, 0.99


class _Stretches(NamedTuple):
    """Minutes from `first` to before `last` (None: open), `minutes` to a stretch (0: all one)."""

    first: int | None
    last: int | None
    minutes: int
    where: str
    values: list[Any]
    number: str

    def span(self, number: int) -> Span:
        """The wall time of a stretch."""
        if not self.minutes or self.first is None:
            ends = (self.first, self.last)
        else:
            start = self.first + number * self.minutes
            end = start + self.minutes
            ends = (start, end if self.last is None else min(end, self.last))
        return Span(*(None if end is None else float(end * _MINUTE_S) for end in ends))


def _stretches(dialect: "Dialect", span: Span, step_s: int, table: str) -> _Stretches:
    first = None if span.start is None else floor(span.start / _MINUTE_S)
    last = None if span.end is None else ceil(span.end / _MINUTE_S)
    minutes = ceil(step_s / _MINUTE_S)
    if first is None and minutes:
        kept = dialect.ask(f"SELECT min(minute), count(*) FROM {table}")
        first = kept[0][0] if kept and kept[0][1] else 0
    parts, values = [], []
    if first is not None:
        parts, values = ["minute >= ?"], [first]
    if last is not None:
        parts, values = [*parts, "minute < ?"], [*values, last]
    number = dialect.quotient(f"(minute - {first})", minutes) if minutes else "0"
    return _Stretches(first, last, minutes, " AND ".join(parts) or "1 = 1", values, number)


# ------------------------------------------------------------------ accuracy

_SUMS = (
    "sum(judged), sum(within_25), sum(within_2), sum(p50_held), sum(p90_held), sum(bias), sum(wait_p50_judged), "
    "sum(wait_p50_held), sum(wait_p90_judged), sum(wait_p90_held)"
)

_Group = tuple[int, str, str]


def accuracy(dialect: "Dialect", query: AccuracyQuery, limit: int, after: str) -> Page[AccuracyFigures]:
    """See DecisionLog."""
    stretches = _stretches(dialect, query.span, query.step_s, "accuracy_minutes")
    behind = place("y", (int, str, str), after)
    where, values = stretches.where, stretches.values
    if query.task_type:
        where, values = f"{where} AND task_type = ?", [*values, query.task_type]
    columns = [("''", "''")]
    if query.by_task_type or query.by_predictor:
        columns.append(
            ("task_type" if query.by_task_type else "''", "predictor" if query.by_predictor else "''")
        )  # fmt: skip
    found: dict[_Group, tuple[Any, ...]] = {}
    for task_type, predictor in columns:
        inner = (
            f"SELECT {stretches.number} AS s, {task_type} AS t, {predictor} AS p, {_SUMS} FROM accuracy_minutes "
            f"WHERE {where} GROUP BY s, t, p"
        )
        sql, given = f"SELECT * FROM ({inner}) AS grouped", list(values)
        if behind is not None:
            sql, given = f"{sql} WHERE (s, t, p) > (?, ?, ?)", [*given, *behind]
        for row in dialect.ask(f"{sql} ORDER BY s, t, p LIMIT {limit + 1}", given):
            # A decision that no prediction was made for belongs to no predictor: it is in the row of all.
            found.setdefault((int(row[0]), row[1], row[2]), row[3:])
    groups = sorted(found)
    page = groups[:limit]
    histograms = _error_histograms(dialect, stretches, where, values, columns, page)
    rows = [
        _accuracy_row(stretches.span(group[0]), *group[1:], found[group], histograms.get(group, {}), query.task_type)
        for group in page
    ]
    return Page(rows, token("y", *page[-1]) if len(groups) > limit else "")


def _error_histograms(
    dialect: "Dialect",
    stretches: _Stretches,
    where: str,
    values: list[Any],
    columns: list[tuple[str, str]],
    page: list[_Group],
) -> dict[_Group, dict[int, int]]:
    histograms: dict[_Group, dict[int, int]] = {}
    if not page:
        return histograms
    if stretches.minutes and stretches.first is not None:
        low = stretches.first + page[0][0] * stretches.minutes
        high = stretches.first + (page[-1][0] + 1) * stretches.minutes
        where, values = f"{where} AND minute >= ? AND minute < ?", [*values, low, high]
    for task_type, predictor in columns:
        sql = (
            f"SELECT {stretches.number} AS s, {task_type} AS t, {predictor} AS p, error_bucket, sum(judged) "
            f"FROM accuracy_minutes WHERE {where} AND judged > 0 GROUP BY s, t, p, error_bucket"
        )
        fresh: dict[_Group, dict[int, int]] = defaultdict(dict)
        for stretch, type_, name, bucket, count in dialect.ask(sql, values):
            fresh[int(stretch), type_, name][int(bucket)] = int(count)
        for group, histogram in fresh.items():
            histograms.setdefault(group, histogram)
    return histograms


def _accuracy_row(
    span: Span, task_type: str, predictor: str, sums: tuple[Any, ...], errors: dict[int, int], only: str
) -> AccuracyFigures:
    judged, within_25, within_2, p50, p90, bias, p50_waits, p50_waits_held, p90_waits, p90_waits_held = sums
    return AccuracyFigures(
        span,
        task_type or only,
        predictor,
        int(judged),
        _share(within_25, judged),
        _share(within_2, judged),
        quantile(errors, _MEDIAN, ERROR_LEAST),
        _share(p50, judged),
        _share(p90, judged),
        _share(p50_waits_held, p50_waits),
        _share(p90_waits_held, p90_waits),
        _share(bias, judged),
    )


def _share(part: Any, whole: Any) -> float | None:
    return float(part) / float(whole) if whole else None


# ------------------------------------------------------------------ utilisation


def utilization(dialect: "Dialect", query: UtilizationQuery, limit: int, after: str) -> Page[UtilizationFigures]:
    """See DecisionLog."""
    stretches = _stretches(dialect, query.span, query.step_s, "worker_minutes")
    behind = place("u", (int, str), after)
    found: dict[tuple[int, str], UtilizationFigures] = {}
    if not query.worker_id:
        first = behind[0] + 1 if behind is not None else 0  # the fleet comes before its workers
        found.update(_of_fleet(dialect, stretches, first, limit + 1))
    if query.by_worker or query.worker_id:
        found.update(_of_workers(dialect, stretches, query.worker_id, behind, limit + 1))
    groups = sorted(found)
    page = groups[:limit]
    return Page([found[group] for group in page], token("u", *page[-1]) if len(groups) > limit else "")


def _of_workers(
    dialect: "Dialect", stretches: _Stretches, worker_id: str, behind: tuple[int, str] | None, limit: int
) -> dict[tuple[int, str], UtilizationFigures]:
    where, values = f"{stretches.where} AND worker_id {'=' if worker_id else '!='} ?", [*stretches.values, worker_id]
    sql = (
        f"SELECT * FROM (SELECT {stretches.number} AS s, worker_id, sum(busy_ms), sum(present_ms), sum(started), "
        f"sum(waited_ms), sum(completed), sum(failed) FROM worker_minutes WHERE {where} GROUP BY s, worker_id) AS w"
    )
    if behind is not None:
        sql, values = f"{sql} WHERE (s, worker_id) > (?, ?)", [*values, *behind]
    rows = dialect.ask(f"{sql} ORDER BY s, worker_id LIMIT {limit}", values)
    return {
        (int(stretch), worker): UtilizationFigures(
            stretches.span(int(stretch)),
            worker,
            utilization=_share(busy, present),
            busy_ms=float(busy),
            present_ms=float(present),
            completed=int(completed),
            failed=int(failed),
            mean_wait_ms=_share(waited, started),
        )
        for stretch, worker, busy, present, started, waited, completed, failed in rows
    }


def _of_fleet(
    dialect: "Dialect", stretches: _Stretches, first: int, limit: int
) -> dict[tuple[int, str], UtilizationFigures]:
    where, values, number = stretches.where, list(stretches.values), stretches.number
    if stretches.minutes and stretches.first is not None:
        where, values = f"{where} AND minute >= ?", [*values, stretches.first + first * stretches.minutes]
    elif first:
        return {}
    share = "CASE WHEN sum(present_ms) > 0 THEN sum(busy_ms) / sum(present_ms) ELSE 0 END"
    by_worker = (
        f"SELECT {number} AS s, worker_id, sum(busy_ms) AS b, sum(present_ms) AS p, sum(started) AS st, "
        f"sum(waited_ms) AS w, sum(completed) AS c, sum(failed) AS f, {share} AS h, "
        f"CASE WHEN sum(present_ms) > 0 THEN 1 ELSE 0 END AS n FROM worker_minutes WHERE {where} AND worker_id != '' "
        "GROUP BY s, worker_id"
    )
    busy = dialect.ask(
        f"SELECT s, sum(b), sum(p), sum(st), sum(w), sum(c), sum(f), sum(n), sum(h), sum(h * h), max(h) "
        f"FROM ({by_worker}) AS workers GROUP BY s ORDER BY s LIMIT {limit}",
        values,
    )
    queue = dialect.ask(
        f"SELECT {number} AS s, sum(waiting_ms), sum(covers_ms) FROM worker_minutes WHERE {where} AND worker_id = '' "
        f"GROUP BY s ORDER BY s LIMIT {limit}",
        values,
    )
    sums = {int(row[0]): row[1:] for row in busy}
    waiting = {int(stretch): _share(total, covered) for stretch, total, covered in queue}
    numbers = sorted({*sums, *waiting})[:limit]
    waits = _wait_histograms(dialect, stretches, where, values, numbers)
    return {
        (each, ""): _fleet_row(
            stretches.span(each), sums.get(each, (0,) * 10), waiting.get(each), waits.get(each, {})
        )
        for each in numbers
    }  # fmt: skip


def _wait_histograms(
    dialect: "Dialect", stretches: _Stretches, where: str, values: list[Any], numbers: list[int]
) -> dict[int, dict[int, int]]:
    histograms: dict[int, dict[int, int]] = defaultdict(dict)
    if not numbers:
        return histograms
    if stretches.minutes and stretches.first is not None:
        where, values = f"{where} AND minute < ?", [*values, stretches.first + (numbers[-1] + 1) * stretches.minutes]
    sql = (
        f"SELECT {stretches.number} AS s, wait_bucket, sum(started) FROM wait_minutes WHERE {where} "
        "GROUP BY s, wait_bucket"
    )
    for stretch, bucket, count in dialect.ask(sql, values):
        histograms[int(stretch)][int(bucket)] = int(count)
    return histograms


def _fleet_row(
    span: Span, sums: tuple[Any, ...], mean_waiting: float | None, waits: dict[int, int]
) -> UtilizationFigures:
    busy, present, started, waited, completed, failed, workers, shares, squares, most = (float(each) for each in sums)
    spread = max_over_mean = None
    if workers > 1 and shares > 0:
        mean = shares / workers
        spread = sqrt(max(0.0, squares / workers - mean * mean)) / mean
        max_over_mean = most / mean
    return UtilizationFigures(
        span,
        "",
        _share(busy, present),
        spread,
        max_over_mean,
        busy,
        present,
        int(completed),
        int(failed),
        mean_waiting,
        _share(waited, started),
        upper(waits, _P99, WAIT_LEAST_MS),
    )
