"""Which outcomes of the log does the predictor know already? So that each counts once.

It knows those that this run heard of, those that earlier runs had heard of when they wrote the snapshot that this one
began with, and those that were read from the log. It does not know what other servers on the same log heard of: whose a
decision was is told by its id.
"""

from collections.abc import Iterator
from math import inf, isfinite
from typing import Any, NamedTuple

from scheduler_server.storage.decision_log import Lesson

PART = "history"
"""The part of the snapshot."""

_MOST_STRETCHES = 512
"""Runs and readings remembered. Of a server that was started more often, the oldest are forgotten: should their
outcomes be in the log still, they count again when they are read."""


class Stretch(NamedTuple):
    """Outcomes from `start` to `end`, both included, wall seconds.

    With a `run` they are those that this run heard of: they are known unless the type was forgotten after they came.
    Without one they were read from the log at `made_at`, those of `task_type` or, "", of all.
    """

    start: float
    end: float
    run: str = ""
    task_type: str = ""
    made_at: float = 0.0


class Learned:
    """Invariant: `_runs` are the ids of all runs in `_stretches`, and our own."""

    def __init__(self, run: str, began: float, strategy: str) -> None:
        """`run` is this one, which began at that wall second; `strategy` names the predictor that knows."""
        self._run = run
        self._began = began
        self._strategy = strategy
        self._stretches: list[Stretch] = []
        self._runs = {run}
        self._forgotten: dict[str, float] = {}
        self._left: dict[str, tuple[list[Stretch], dict[str, float]]] = {}  # of predictors that are not in force

    def knows(self, lesson: Lesson) -> bool:
        """Has it been learned?"""
        at, task_type = lesson.at, lesson.task.task_type
        since = self._forgotten.get(task_type, -inf)
        ours = lesson.decision_id.split("-", 2)[1:2]
        of_ours = bool(ours) and ours[0] in self._runs
        if of_ours and at >= self._began and at >= since:
            return True
        for start, end, run, only, made_at in self._stretches:
            if not start <= at <= end:
                continue
            if run:
                if of_ours and at >= since:
                    return True
            elif only in ("", task_type) and made_at >= since:
                return True
        return False

    def switch(self, strategy: str, since: float, now: float) -> None:
        """Another predictor is in force: it knows what it knew when it was left, and what came since `since`."""
        self._left[self._strategy] = [*self._stretches, Stretch(self._began, now, self._run)], dict(self._forgotten)
        stretches, self._forgotten = self._left.pop(strategy, ([], {}))
        self._strategy, self._began = strategy, since
        self._stretches.clear()
        self._runs = {self._run}
        for each in stretches:
            self._add(each)

    def was_read(self, start: float, end: float, task_type: str, now: float) -> None:
        """These were learned from the log."""
        self._add(Stretch(start, end, "", task_type, now))

    def forget(self, task_type: str, now: float) -> None:
        """Of this type, or of all of them (""), nothing is known that came before now."""
        if task_type:
            self._forgotten[task_type] = now
            return
        self._stretches.clear()
        self._forgotten.clear()
        self._began = now

    def _add(self, stretch: Stretch) -> None:
        self._stretches.append(stretch)
        del self._stretches[:-_MOST_STRETCHES]
        self._runs = {self._run, *(each.run for each in self._stretches if each.run)}

    # ------------------------------------------------------------------ across a restart

    def state(self, now: float) -> Iterator[dict[str, Any]]:
        """One record, to go with what the predictor knows now."""
        yield {
            "part": PART,
            "strategy": self._strategy,
            "known": [list(each) for each in (*self._stretches, Stretch(self._began, now, self._run))],
            "forgotten": dict(self._forgotten),
        }

    def restore(self, record: dict[str, Any]) -> None:
        """Take it back; ValueError where it makes no sense. Of another predictor it says nothing."""
        if record.get("strategy") != self._strategy:
            return
        known, forgotten = record.get("known"), record.get("forgotten")
        if not (
            isinstance(known, list)
            and isinstance(forgotten, dict)
            and all(isinstance(name, str) and _instant(at) for name, at in forgotten.items())
        ):
            raise ValueError("not a record of what was learned from history")
        stretches = [_stretch(each) for each in known]
        for each in stretches:
            self._add(each)
        self._forgotten.update({name: float(at) for name, at in forgotten.items()})


def _stretch(given: Any) -> Stretch:
    if isinstance(given, list) and len(given) == len(Stretch._fields):
        start, end, run, task_type, made_at = given
        if all(map(_instant, (start, end, made_at))) and isinstance(run, str) and isinstance(task_type, str):
            return Stretch(float(start), float(end), run, task_type, float(made_at))
    raise ValueError(f"not a stretch of history: {str(given)[:200]}")


def _instant(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value)
