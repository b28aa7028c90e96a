"""When will a waiting task start? The work ahead over the slots, corrected by how such answers turned out.

    work of the tasks ahead that falls on slots that could take it + what one running task there takes, on average
    -------------------------------------------------------------------------------------------------------------------
                                       slots that could take this task

For exponential durations that is exact: what is left of a running task is then as long as all of it. Medians do not add
up, so the work is a sum of means. What it leaves out (tasks that will overtake, slots that come and go, durations
predicted wrong) is learned: P50 and P90 are that quotient times factors, moved online so that they hold as often as
they should (Gibbs and Candes 2021), by the size of the wait and by what the task needs. A task that waits longer than
its P90 is counted at once and not when it starts: those that wait longest are heard of last, and flatter everybody
until then.
"""

from collections import OrderedDict, deque
from collections.abc import Hashable, Iterator, Mapping
from math import exp, frexp
from typing import Any, NamedTuple

from scheduler_server.model.making import make

_STEP = 0.05
"""How far a factor moves per start, as a logarithm. P90 then falls by 0.5 % for each answer that held and rises by
4.5 % for each that did not: within twenty starts it follows a change by a factor of two."""

_FIRST_STEPS = 10
"""Starts over which the first, longer steps shrink to that."""

_START_P90 = 0.7
"""Where the factor of P90 begins, as a logarithm: twice the quotient."""

_MOST = 7.0
"""Factors stay within e^7, a thousand."""

_SIZES = 40
"""Sizes of waits told apart: powers of two from a millisecond up."""

_EVERY = -1
"""All sizes, where what was learned is kept."""

_GROUPS = 4_096
"""Sets of needs with corrections of their own."""

_PRIOR = 20.0
"""Starts that the correction of all groups counts for against a group's own."""

_WINDOW = 500
"""Answers whose coverage is told."""


class Expected(NamedTuple):
    """Seconds until a task starts, with what the answer rests on. `coverage`: share of past P90s that held, 0-1."""

    p50_s: float
    p90_s: float
    sample_count: int
    coverage: float | None


class _Factors:
    """How far the quotient is off, as logarithms, for one size of wait."""

    __slots__ = ("high", "low", "seen")

    def __init__(self, low: float = 0.0, high: float = 0.0) -> None:
        self.low = low
        self.high = high
        self.seen = 0


class Answer:
    """What a task was told when it began to wait, until it turns out."""

    __slots__ = ("group", "judged", "p50_at", "p90_at", "size")

    def __init__(self, group: Hashable, size: int, p50_at: float, p90_at: float) -> None:
        self.group = group
        self.size = size
        self.p50_at = p50_at
        self.p90_at = p90_at
        self.judged = False


class ExpectedStarts:
    """Corrections by size of wait, for all and by group (a number for what tasks need)."""

    def __init__(self) -> None:
        self._every = _Factors(0.0, _START_P90)  # of all sizes: where a size that is new starts
        self._all = [_Factors() for _ in range(_SIZES)]
        self._own: OrderedDict[tuple[Hashable, int], _Factors] = OrderedDict()
        self._last: deque[tuple[bool, bool]] = deque()  # did it start after its P50, after its P90?
        self._held50 = self._held90 = 0  # how many of these did not
        self.judged = 0

    def expect(self, group: Hashable, work_s: float, residual_s: float, slots: float) -> tuple[Expected, int]:
        """The answer, and the size of wait that it was taken from. `slots` 0: nobody knows."""
        quotient = (work_s + residual_s) / max(slots, 1e-9)
        size = frexp(quotient * 1e3)[1]
        if not 0 <= size < _SIZES:
            size = 0 if size < 0 else _SIZES - 1
        usual = self._all[size]
        seen = usual.seen
        if not seen:
            usual = self._every
        low, high = usual.low, usual.high
        own = self._own.get((group, size))
        if own is not None:
            trust = own.seen / (own.seen + _PRIOR)
            low, high = low + trust * own.low, high + trust * own.high
        p50, p90 = quotient * exp(low), quotient * exp(high)
        coverage = self._held90 / len(self._last) if self._last else None
        return make(Expected, (p50, max(p50, p90), seen, coverage)), size

    def promise(self, now: float, group: Hashable, size: int, expected: Expected) -> Answer:
        """Remember what was told, to be judged."""
        return Answer(group, size, now + expected[0], now + expected[1])

    def judge(self, answer: Answer, now: float) -> None:
        """The task started now, or waits on although its P90 has passed. The first counts."""
        if answer.judged:
            return
        answer.judged = True
        over50, over90 = now > answer.p50_at, now > answer.p90_at
        self.judged += 1
        last = self._last
        last.append((over50, over90))
        self._held50 += not over50
        self._held90 += not over90
        if len(last) > _WINDOW:
            gone50, gone90 = last.popleft()
            self._held50 -= not gone50
            self._held90 -= not gone90
        usual = self._all[answer.size]
        if not usual.seen:
            usual.low, usual.high = self._every.low, self._every.high
        key = (answer.group, answer.size)
        own = self._own.get(key)
        if own is None:
            if len(self._own) >= _GROUPS:
                self._own.popitem(last=False)
            own = self._own[key] = _Factors()
        low_by, high_by = 0.5 if over50 else -0.5, 0.9 if over90 else -0.1
        for factors in (usual, self._every, own):
            factors.seen = seen = factors.seen + 1
            step = _STEP + 1.0 / (_FIRST_STEPS + seen)
            low, high = factors.low + low_by * step, factors.high + high_by * step
            if -_MOST < low < _MOST:
                factors.low = low
            if -_MOST < high < _MOST:
                factors.high = high

    def state(self) -> Iterator[dict[str, Any]]:
        """What has been learned over all groups."""
        for size, factors in [*enumerate(self._all), (_EVERY, self._every)]:
            if factors.seen:
                yield {"size": size, "low": factors.low, "high": factors.high, "seen": factors.seen}

    def restore(self, kept: Mapping[str, Any]) -> None:
        """Take a record of `state` back; ValueError or KeyError where it makes no sense."""
        size, low, high, seen = int(kept["size"]), float(kept["low"]), float(kept["high"]), int(kept["seen"])
        if not (_EVERY <= size < _SIZES and -_MOST <= low <= _MOST and -_MOST <= high <= _MOST and seen > 0):
            raise ValueError(f"not what was learned of expected starts: {kept!r}")
        factors = self._every if size == _EVERY else self._all[size]
        factors.low, factors.high, factors.seen = low, high, seen

    def coverage(self) -> tuple[float | None, float | None]:
        """Shares of the last answers whose P50, and whose P90, held; None while there are none."""
        seen = len(self._last)
        return (self._held50 / seen, self._held90 / seen) if seen else (None, None)
