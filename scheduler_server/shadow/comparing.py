"""From comparisons to figures, each judged one with its uncertainty.

Neighbouring decisions see the same fleet, so their differences are alike, and an interval that took them for
independent would be too narrow. Differences are therefore averaged over up to 30 stretches of consecutive decisions,
which depend on each other hardly at all, and the interval is Student's t over those averages (the method of batch
means: Law & Kelton, Simulation Modeling and Analysis). Both choices face the same task and fleet: a paired comparison.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from scheduler_server.shadow.kept import Column, Floats, Rows
from scheduler_server.simulation.intervals import LEAST, mean_interval

BATCHES = 30
LEVEL = 0.95


class Difference(NamedTuple):
    """A mean of shadow less live, and where it lies with 95 %; milliseconds."""

    value_ms: float
    low_ms: float
    high_ms: float


class Comparison(NamedTuple):
    """A policy against the live one; "" for all types. Means are seconds, None where nothing was compared.

    Differences are None with fewer than two decisions judged: one tells nothing of chance.
    """

    policy: str
    task_type: str
    decisions: int
    failures: int
    agreement: float | None
    live_wait_s: float | None
    wait_s: float | None
    live_finish_s: float | None
    finish_s: float | None
    judged: int
    wait_later: Difference | None
    finish_later: Difference | None


class Stretch(NamedTuple):
    """Which rows: from `start` (None: the first) to before `end`, wall seconds; of one type, or "" for all."""

    start: float | None = None
    end: float | None = None
    task_type: str = ""


def within(rows: Rows, which: Stretch) -> Rows:
    """These rows only."""
    at = rows.values[:, Column.AT]
    wanted: np.ndarray[Any, np.dtype[np.bool_]] = np.ones(len(at), dtype=bool)
    if which.start is not None:
        wanted &= at >= which.start
    if which.end is not None:
        wanted &= at < which.end
    if which.task_type:
        wanted &= np.fromiter((each == which.task_type for each in rows.types), bool, len(at))
    if wanted.all():
        return rows
    places = np.flatnonzero(wanted)
    return Rows(rows.values[places], [rows.types[place] for place in places.tolist()])


def compare(policy: str, rows: Rows, task_type: str = "") -> Comparison:
    """The figures of these rows, all of which are of `task_type` where it is given."""
    return _figures(policy, task_type, rows.values)


def by_type(policy: str, rows: Rows, most: int) -> Iterator[Comparison]:
    """The same by task type, the most frequent ones first, at most `most` of them."""
    places: dict[str, list[int]] = {}
    for place, task_type in enumerate(rows.types):
        places.setdefault(task_type, []).append(place)
    for task_type in sorted(places, key=lambda each: (-len(places[each]), each))[:most]:
        yield _figures(policy, task_type, rows.values[places[task_type]])


def _figures(policy: str, task_type: str, values: Floats) -> Comparison:
    compared = values[~np.isnan(values[:, Column.AGREED])]
    judged = compared[~np.isnan(compared[:, Column.FINISH_LATER])]
    agreement, live_wait_s, wait_s, live_finish_s, finish_s = (
        float(compared[:, column].mean()) if len(compared) else None
        for column in (Column.AGREED, Column.LIVE_WAIT, Column.WAIT, Column.LIVE_FINISH, Column.FINISH)
    )
    return Comparison(
        policy,
        task_type,
        len(compared),
        len(values) - len(compared),
        agreement,
        live_wait_s,
        wait_s,
        live_finish_s,
        finish_s,
        len(judged),
        difference(judged[:, Column.WAIT_LATER].tolist()),
        difference(judged[:, Column.FINISH_LATER].tolist()),
    )


def difference(later_s: Sequence[float]) -> Difference | None:
    """The mean of these, in the order in which they came, and its interval."""
    count = len(later_s)
    if count < LEAST:
        return None
    batches = min(BATCHES, count)
    edges = [count * number // batches for number in range(batches + 1)]
    means = [sum(later_s[low:high]) / (high - low) for low, high in pairwise(edges)]
    interval = mean_interval(means)
    half = 0.0 if interval.hi is None else interval.hi - interval.value
    value = sum(later_s) / count  # batches differ by one at most, and the mean is of all
    return Difference(value * 1e3, (value - half) * 1e3, (value + half) * 1e3)
