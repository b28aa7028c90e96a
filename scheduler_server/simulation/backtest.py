"""Predictors over a trace, each task predicted when it was submitted and learned when it was over."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from scheduler_server.predictor import Predictor
from scheduler_server.simulation.calibration import Calibration
from scheduler_server.simulation.feedback import Event, events
from scheduler_server.simulation.hindsight import Hindsight
from scheduler_server.simulation.score import Score
from scheduler_server.simulation.trace_row import TraceRow

COUNTED = ("ok", "unknown")
"""Statuses of rows that teach and count; a failed task ends early or late, but not when its work is done."""

MOST_TYPES = 100_000
"""Task types told apart in the report; later ones are one group, so that a million types stay in bounded memory."""

OTHER_TYPES = "(other types)"
_MOST_STATUSES = 20  # left-out statuses told apart; in a column that is no status there may be as many as rows
_OTHER_STATUSES = "(others)"
_CHUNK = 512
"""Events each predictor works through in its turn. What the figures are does not depend on it; short turns would time
each predictor with the other's data in the caches, long ones would hold many rows."""

_CALIBRATIONS = 1_001


@dataclass(slots=True)
class Report:
    """What came of one trace. `left_out` counts rows by the status for which they neither taught nor counted."""

    scores: dict[str, Score]
    rows: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    types: dict[str, Hindsight] = field(default_factory=dict)
    first_s: float | None = None
    last_s: float = 0.0

    def group(self, task_type: str) -> str:
        """What stands for a type in the report."""
        return task_type if task_type in self.types or len(self.types) < MOST_TYPES else OTHER_TYPES

    def hindsight_hit25(self) -> float | None:
        """Share of rows near to the best constant of their type, in percent. Not an upper bound: durations drift."""
        hits = sum(each.best_hits() for each in self.types.values())
        return round(100.0 * hits / self.rows, 2) if self.rows else None

    def largest_types(self, most: int) -> list[tuple[str, Hindsight]]:
        """The types with the most rows, ties by name."""
        return sorted(self.types.items(), key=lambda item: (-item[1].rows, item[0]))[:most]

    def by_type(self, most: int) -> list[dict[str, Any]]:
        """The largest types: rows, and the share of them near to each predictor's answer and to the best constant."""
        return [
            {
                "task_type": task_type,
                "rows": kept.rows,
                "hit25": {
                    name: round(100.0 * score.near_by_type[task_type] / kept.rows, 2)
                    for name, score in self.scores.items()
                },
                "hindsight_hit25": round(100.0 * kept.best_hits() / kept.rows, 2),
            }
            for task_type, kept in self.largest_types(most)
        ]

    def described(self, by_type: int) -> dict[str, Any]:
        """All of it as values of JSON types. Shares are percent; see `Score.figures` for the predictors'."""
        return {
            "rows": self.rows,
            "types": len(self.types),
            "first_submit_s": self.first_s,
            "last_submit_s": self.last_s,
            "left_out": dict(self.left_out),
            "hindsight_hit25": self.hindsight_hit25(),
            "predictors": {name: score.figures() for name, score in self.scores.items()},
            "by_type": self.by_type(by_type),
        }


def backtest(
    rows: Iterable[TraceRow],
    predictors: Mapping[str, Predictor],
    stopwatch_ns: Callable[[], int],
    *,
    counted: Sequence[str] = COUNTED,
    calibrations: bool = False,
    every_chunk: Callable[[], None] = lambda: None,
) -> Report:
    """One pass over a trace in time order, any number of fresh predictors side by side.

    All figures follow from the rows alone, but for the microseconds. `every_chunk` is called now and then, for whoever
    shows progress. Memory grows with the tasks that run at once and with the types, not with the rows.
    """
    report = Report({name: Score(Calibration() if calibrations else None) for name in predictors})
    own_ns = _cost_of(stopwatch_ns)
    stream = events(_counting(rows, report, frozenset(counted)))
    while chunk := list(islice(stream, _CHUNK)):
        groups = [_count(report, event.row) if not event.ended else "" for event in chunk]
        for name, predictor in predictors.items():
            _through(chunk, groups, predictor, report.scores[name], stopwatch_ns, own_ns)
        every_chunk()
    return report


def _counting(rows: Iterable[TraceRow], report: Report, counted: frozenset[str]) -> Iterator[TraceRow]:
    for row in rows:
        if row.status in counted:
            yield row
        else:
            known = row.status in report.left_out or len(report.left_out) < _MOST_STATUSES
            report.left_out[row.status if known else _OTHER_STATUSES] += 1


def _count(report: Report, row: TraceRow) -> str:
    report.rows += 1
    if report.first_s is None:
        report.first_s = row.submit_s
    report.last_s = row.submit_s
    group = report.group(row.task.task_type)
    report.types.setdefault(group, Hindsight()).add(row.duration_ms)
    return group


def _through(
    chunk: Sequence[Event],
    groups: Sequence[str],
    predictor: Predictor,
    score: Score,
    stopwatch_ns: Callable[[], int],
    own_ns: int,
) -> None:
    predict, observe = predictor.predict, predictor.observe
    for (ended, row), group in zip(chunk, groups, strict=True):
        task = row.task
        try:
            if ended:
                start = stopwatch_ns()
                observe(task, row.duration_ms)
                took = stopwatch_ns() - start
                score.update_us.add(max(0, took - own_ns) / 1_000.0)
                continue
            start = stopwatch_ns()
            prediction = predict(task)
            took = stopwatch_ns() - start
        except Exception as error:  # noqa: BLE001 -- as in the server: whatever a predictor raises is a failure of its
            said = f"{type(error).__name__}: {error}"
            (score.fail_update if ended else score.fail)(row, said)
            continue
        score.predict_us.add(max(0, took - own_ns) / 1_000.0)
        score.judge(row, group, prediction)


def _cost_of(stopwatch_ns: Callable[[], int]) -> int:
    """What measuring nothing shows, in nanoseconds: taken off every measurement."""
    found = []
    for _ in range(_CALIBRATIONS):
        start = stopwatch_ns()
        found.append(stopwatch_ns() - start)
    return sorted(found)[_CALIBRATIONS // 2]
