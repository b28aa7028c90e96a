"""Were the predictions any good? Judged by what decisions went by, when their tasks have succeeded.

Rolling windows of ratios, predicted over actual: the last thousand outcomes of all, and the last fifty of each task
type, for as many types as have had outcomes lately. Of one outcome only a number is kept; the figures are worked out
when somebody asks.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator
from statistics import median
from typing import NamedTuple

from scheduler_server.model.prediction import Prediction
from scheduler_server.predictor.settings import PredictorSettings

_ALL = 1_000
"""Outcomes in the window of all types: a share is then known to within three parts in a hundred."""

_OF_A_TYPE = 50
"""The same for one type, to within 14: enough to tell the useless from the useful, in two kilobytes."""

_TYPES = 10_000
"""Types with a window of their own; the one that has had no outcome for longest goes first."""

_MOST_RATIO = 1e6
"""Ratios are cut here, so that what else is known of an outcome fits beside them in one float."""

_BAND = 10.0 * _MOST_RATIO
"""Added once for an outcome above its P50, twice for one above its P90."""

_MOST_JUDGED = 2**63
"""A count above this is no count; the wire could not carry it."""

_NEAR, _FACTOR = 0.25, 2.0

_LEARNED = 3
"""Outcomes behind a prediction before it counts for or against trust. A large fleet that starts cold is full of tasks
placed by a default; their ends say that the default was wrong, and nothing of what has been learned from them."""


class Figures(NamedTuple):
    """How good predictions were. Shares are 0-1; None where nothing was compared."""

    sample_count: int
    within_25_percent: float | None = None
    within_factor_2: float | None = None
    median_relative_error: float | None = None
    p50_coverage: float | None = None
    p90_coverage: float | None = None
    mean_relative_bias: float | None = None


class _Window:
    """The last outcomes: per outcome the ratio of predicted to actual, plus a band that says which quantile held.

    It is below 0 where next to nothing had been learned. Invariant, of the windows of types: `learned` of them are not,
    and `close` of those are within a factor of two.
    """

    __slots__ = ("close", "judged", "learned", "outcomes", "untrusted")

    def __init__(self, most: int) -> None:
        self.outcomes: deque[float] = deque(maxlen=most)
        self.close = self.learned = 0
        self.judged = 0  # ever
        self.untrusted = False


class Accuracy:
    """Judges predictions, and says which task types' predictions are too poor to be used.

    A type loses trust when too few of its last outcomes were within a factor of two of what had been learned, and wins
    it back by a larger share: predictions go on being made and judged meanwhile.
    """

    def __init__(self, settings: PredictorSettings) -> None:
        self.reconfigure(settings)
        self._overall = _Window(_ALL)  # `close` is not kept for it: nobody asks between two readings
        self._types: dict[str, _Window] = {}  # in order of their last outcome, oldest first
        self.untrusted: set[str] = set()

    def reconfigure(self, settings: PredictorSettings) -> None:
        """Trust by these limits from the next outcome on."""
        self._least = min(settings.distrust_after, _OF_A_TYPE)
        self._below, self._above = settings.distrust_below, settings.trust_above

    def judge(self, task_type: str, prediction: Prediction, actual_ms: float) -> float | None:
        """Take in an outcome (milliseconds at speed 1, above 0).

        Where that moved the type over a limit, answers the share within a factor of two that did it; whether it is in
        `untrusted` now says which way.
        """
        ratio = prediction[0] / actual_ms
        value = ratio if ratio < _MOST_RATIO else _MOST_RATIO  # noqa: FURB136 -- min() costs 0.1 us
        if actual_ms > prediction[2]:
            value += _BAND if actual_ms <= prediction[3] else 2.0 * _BAND
        overall = self._overall
        overall.judged += 1
        overall.outcomes.append(value)
        types = self._types
        window = types.pop(task_type, None)
        if window is None:
            window = _Window(_OF_A_TYPE)
            if len(types) >= _TYPES:
                oldest = next(iter(types))
                del types[oldest]
                self.untrusted.discard(oldest)
        types[task_type] = window
        outcomes = window.outcomes
        if len(outcomes) == _OF_A_TYPE:
            gone = outcomes[0]
            if gone > 0.0:
                window.learned -= 1
                if 1.0 / _FACTOR <= gone % _BAND <= _FACTOR:
                    window.close -= 1
        window.judged += 1
        if prediction[5] < _LEARNED:
            outcomes.append(-value)
        else:
            outcomes.append(value)
            window.learned += 1
            if 1.0 / _FACTOR <= ratio <= _FACTOR:
                window.close += 1
        if window.learned < self._least:
            return None
        share = window.close / window.learned
        if (share <= self._above) if window.untrusted else (share >= self._below):
            return None
        window.untrusted = not window.untrusted
        if window.untrusted:
            self.untrusted.add(task_type)
        else:
            self.untrusted.discard(task_type)
        return share

    def overall(self) -> Figures:
        """All types together: the last thousand outcomes."""
        return _figures(self._overall)

    def of_type(self, task_type: str) -> Figures:
        """One type: its last fifty outcomes."""
        window = self._types.get(task_type)
        return Figures(0) if window is None else _figures(window)

    def types(self) -> list[str]:
        """The types with a window, longest without an outcome first."""
        return list(self._types)

    # ------------------------------------------------------------------ across a restart

    def state(self) -> Iterator[dict[str, object]]:
        """One record for all, under the empty name, and one per type; in order of their last outcome."""
        yield {"type": "", "judged": self._overall.judged, "outcomes": list(self._overall.outcomes)}
        for name in list(self._types):
            window = self._types.get(name)
            if window is not None:  # it may go while a snapshot is being written
                yield {
                    "type": name,
                    "judged": window.judged,
                    "outcomes": list(window.outcomes),
                    "untrusted": window.untrusted,
                }

    def restore(self, record: dict[str, object]) -> None:
        """Take one record back; ValueError where it makes no sense."""
        name, judged, outcomes = record.get("type"), record.get("judged"), record.get("outcomes")
        if not (
            isinstance(name, str)
            and isinstance(judged, int)
            and isinstance(outcomes, list)
            and len(outcomes) <= judged < _MOST_JUDGED
            and all(isinstance(value, (int, float)) and abs(value) <= 3.0 * _BAND for value in outcomes)
        ):
            raise ValueError(f"not an accuracy record: {str(record)[:200]}")
        window = _Window(_OF_A_TYPE if name else _ALL)
        window.outcomes.extend(map(float, outcomes))
        learned = [value for value in window.outcomes if value > 0.0]
        window.learned, window.close = len(learned), _close(learned)
        window.judged = judged
        if not name:
            self._overall = window
            return
        window.untrusted = record.get("untrusted") is True
        if window.untrusted:
            self.untrusted.add(name)
        self._types[name] = window


def _close(outcomes: Iterable[float]) -> int:
    return sum(1.0 / _FACTOR <= value % _BAND <= _FACTOR for value in outcomes)


def _figures(window: _Window) -> Figures:
    seen = len(window.outcomes)
    if not seen:
        return Figures(0)
    bands = sorted(map(abs, window.outcomes))
    errors = [value % _BAND - 1.0 for value in bands]
    return Figures(
        window.judged,
        sum(-_NEAR <= error <= _NEAR for error in errors) / seen,
        _close(bands) / seen,
        median(map(abs, errors)),
        bisect_right(bands, _BAND - 1.0) / seen,
        bisect_right(bands, 2.0 * _BAND - 1.0) / seen,
        sum(errors) / seen,
    )
