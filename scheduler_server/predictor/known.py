"""What is known under one key."""

from array import array
from typing import TYPE_CHECKING, TypeAlias

from scheduler_server.predictor.densest import BIN, BINS, FIRST_CENTRE, HORIZONS, RECENT_THREE, Densest

if TYPE_CHECKING:
    from scheduler_server.predictor.kind import Kind

Who: TypeAlias = tuple[str, str]
"""Tenant and user."""

Details: TypeAlias = tuple[tuple[str, str | float], ...]
"""Features by name with their number, or their size class in words, and attributes with their word."""

Key: TypeAlias = tuple[str | None, Who | None, tuple[tuple[str, float], ...] | None, Details | None]
"""Task type, who asks, requested resources, details: None where the key does not go into that."""

ANY_TYPE, TYPE, WHO, RESOURCES, DETAILS = range(5)
"""Depths of keys, coarse to fine."""

_CENTRE_RATE = 0.1
"""Weight of the newest duration in the centre of the densest durations: the memory of the middle horizon."""

_SPREAD_RATE = 0.1
"""The same for the mean deviation from it."""

_FAST_RATE, _SLOW_RATE = 0.5, 0.05
"""Weights of the newest duration in the moving averages beside: about the last two outcomes, for what trends or wanders
smoothly, and twenty, for what only scatters. The mean in ms goes at the slow rate: a sum wants little noise."""

_GROWN = round(1.0 / _SLOW_RATE)
"""Outcomes from which on the averages move at these rates."""

_MARGIN = 2.0
"""Bins (10 %) that the point keeps from where the next duration would fall out of the window. With room beyond that
(all durations within 29 % of each other) it goes to their centre: what always takes 4 s is predicted 4.00 s."""

KEPT = HORIZONS[1][0]
"""Outcomes that a drift leaves: the three new ones outweigh the nine old ones 63 to 45, and should it have been a short
spell, the first outcome of the old kind turns the balance back."""

_AGREEING = BINS - 1
"""Three outcomes within so many bins agree with each other: one point is within 25 % of all of them."""

_MOVED = BINS // 2
"""Bins by which the middle of the densest windows moves before its centre starts anew."""

_UNHEARD_OF = 0.05
"""Durations are of another world when at most this share of what was remembered is within 25 % of them: three in a row
by chance then come once in 8,000 outcomes, or less, since they also have to agree with each other."""

_SETTLED = 8
"""Outcomes, the three included, before a key can drift: five that agreed are a past that can be contradicted."""

DOUBT = 0.25
"""The spread of the first key of all, and the least one after a drift (ln ms): about what "within 25 %" allows."""

LEAST_SPREAD = 0.01
"""The least spread used (ln ms): clocks and start-up noise are good for a hundredth."""


class Known(Densest):
    """The outcomes of one key: where they are densest, their mean, how far they spread, whether they have drifted.

    `centre` is the moving average of the durations in the densest window, `fast` and `slow` those of all, `spread` the
    mean deviation from the centre: all in ln ms. `outcomes` counts since the last drift, `version` all of them. What a
    key has earned against eviction is `version` less `weighed`. `learned_at` and `drifted_at` are wall seconds, 0 where
    nobody said them; `drifts` counts.
    """

    __slots__ = (
        "centre", "dead", "depth", "drifted_at", "drifts", "fast", "key", "kind", "label", "learned_at", "mean_ms",
        "outcomes", "slow", "spread", "version", "weighed",
    )  # fmt: skip

    def __init__(self, key: Key, depth: int, kind: "Kind", spread: float) -> None:
        super().__init__()
        self.key = key
        self.depth = depth
        self.kind = kind
        self.label = ""
        self.outcomes = 0
        self.version = 0
        self.centre = self.fast = self.slow = 0.0
        self.spread = spread
        self.mean_ms = 0.0
        self.weighed = 0
        self.learned_at = self.drifted_at = 0.0
        self.drifts = 0
        self.dead = False

    def named(self) -> str:
        """The key in words, worked out when somebody asks."""
        if not self.label:
            self.label = label(self.key)
        return self.label

    def learn(self, newest: int, log_ms: float, duration_ms: float) -> tuple[float, int] | None:
        """Take in an outcome: its bin, ln ms, ms. After a drift: the point before, in ln ms, and outcomes forgotten."""
        self.version += 1
        self.outcomes = count = self.outcomes + 1
        if count == 1:
            self.begin(newest)
            self.centre = self.fast = self.slow = log_ms
            self.mean_ms = duration_ms
            return None
        was_low, was_high, before = self.low, self.high, self.centre
        self.add(newest)
        off = log_ms - before
        if off < 0.0:
            off = -off
        self.fast += _FAST_RATE * (log_ms - self.fast)
        if count < _GROWN:
            self._begin_averages(count, off, log_ms, duration_ms)
        else:
            self.spread += _SPREAD_RATE * (off - self.spread)
            self.slow += _SLOW_RATE * (log_ms - self.slow)
            self.mean_ms += _SLOW_RATE * (duration_ms - self.mean_ms)
        was = was_low + was_high
        drifted = not 0 <= 2 * newest - was < 2 * BINS and count >= _SETTLED and self._drifted()
        if drifted:
            self.forget(KEPT)
            self.outcomes = len(self.recent)
            self.mean_ms = duration_ms
            self.spread = max(self.spread, DOUBT)
        twice = self.low + self.high
        inside = 0 <= 2 * newest - twice < 2 * BINS
        if not -2 * _MOVED <= twice - was <= 2 * _MOVED:
            self.centre = log_ms if inside else 0.5 * twice * BIN + FIRST_CENTRE
        elif inside:
            self.centre = before + _CENTRE_RATE * (log_ms - before)
        if not drifted:
            return None
        self.fast = self.slow = self.centre
        return point_of(was_low, was_high, before), count - self.outcomes

    def _begin_averages(self, count: int, off: float, log_ms: float, duration_ms: float) -> None:
        """All outcomes weigh the same as long as there are few; the spread that it began with counts as one."""
        rate = 1.0 / count
        self.spread += max(rate, _SPREAD_RATE) * (off - self.spread)
        self.slow += rate * (log_ms - self.slow)
        self.mean_ms += rate * (duration_ms - self.mean_ms)

    def bring_back(self, recent: "array[int]", outcomes: int, logs: tuple[float, float, float, float]) -> None:
        """Take back what was known before a restart; `logs` are centre, fast, slow and spread."""
        self.recent = recent  # the windows are worked out when somebody asks: 100,000 keys come back at once
        self.outcomes = self.version = outcomes
        self.centre, self.fast, self.slow, self.spread = logs

    def _drifted(self) -> bool:
        """Whether the last three agree with each other, and with next to nothing before."""
        recent = self.recent
        one, two, three = recent[-3], recent[-2], recent[-1]
        least, most = min(one, two, three), max(one, two, three)
        if most - least > _AGREEING:
            return False
        window = ((least + most) >> 1) - BINS // 2 + 1  # the three lie in the middle of it
        old = self.counts[window - self.base] - RECENT_THREE
        return old <= _UNHEARD_OF * (self.total - RECENT_THREE)


def point_of(low: int, high: int, centre: float) -> float:
    """The point, in ln ms: the middle of the densest windows, or nearer to their durations where there is room."""
    point = 0.5 * (low + high) * BIN + FIRST_CENTRE
    room = (0.5 * (high - low) - _MARGIN) * BIN
    return max(point - room, min(point + room, centre)) if room > 0.0 else point


def label(key: Key) -> str:
    """The key in words: `type=x, user=u, cpus=4, input_bytes~2^20`."""
    task_type, who, resources, details = key
    words = [f"type={task_type}"] if task_type is not None else ["any type"]
    if who is not None:
        tenant, user = who
        if tenant:
            words.append(f"tenant={tenant}")
        if user:
            words.append(f"user={user}")
    for name, value in resources or ():
        words.append(f"{name}={value:g}")
    for name, detail in details or ():
        if isinstance(detail, float):
            words.append(f"{name}={detail:.12g}")
        else:
            words.append(f"{name}{'' if '~' in detail[:2] else '='}{detail}")
    return ", ".join(words)
