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
"""The same for the mean deviation from the point."""

_MEAN_RATE = 0.05
"""The same for the mean in ms: twenty outcomes, because a sum wants little noise rather than the latest news."""

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

    `point` is the prediction in ln ms, `centre` the moving average of the durations in the densest window. `spread` is
    the mean deviation from the point, in ln ms. `outcomes` counts since the last drift; `version` never falls. `credit`
    is what the key has earned against eviction.
    """

    __slots__ = (
        "centre",
        "credit",
        "dead",
        "depth",
        "key",
        "kind",
        "label",
        "mean_ms",
        "outcomes",
        "point",
        "spread",
        "version",
    )

    def __init__(self, key: Key, depth: int, kind: "Kind", spread: float) -> None:
        super().__init__()
        self.key = key
        self.depth = depth
        self.kind = kind
        self.label = label(key)
        self.outcomes = 0
        self.version = 0
        self.centre = self.point = 0.0
        self.spread = spread
        self.mean_ms = 0.0
        self.credit = 0
        self.dead = False

    def learn(self, newest: int, log_ms: float, duration_ms: float) -> tuple[float, int] | None:
        """Take in an outcome: its bin, ln ms, ms. After a drift: the point before, in ln ms, and outcomes forgotten."""
        self.version += 1
        self.credit += 1
        self.outcomes = count = self.outcomes + 1
        if count == 1:
            self.begin(newest)
            self.centre = log_ms
            self.mean_ms = duration_ms
            self._point_near(log_ms)
            return None
        before = self.point
        was = self.low + self.high
        self.add(newest)
        off = log_ms - before
        rate = 1.0 / count  # the spread that it began with counts as one outcome
        self.spread += (max(_SPREAD_RATE, rate)) * ((off if off > 0.0 else -off) - self.spread)
        self.mean_ms += (max(_MEAN_RATE, rate)) * (duration_ms - self.mean_ms)
        if count >= _SETTLED and not 0 <= newest - (was >> 1) < BINS and self._drifted():
            self.forget(KEPT)
            self.outcomes = len(self.recent)
            self.mean_ms = duration_ms
            self.spread = max(self.spread, DOUBT)
            self._place(newest, log_ms, was)
            return before, count - self.outcomes
        self._place(newest, log_ms, was)
        return None

    def bring_back(self, recent: "array[int]", outcomes: int, centre: float, spread: float, mean_ms: float) -> None:
        """Take back what was known before a restart."""
        self.recent = recent
        self.rebuild()
        self.outcomes = self.version = outcomes
        self.centre, self.spread, self.mean_ms = centre, spread, mean_ms
        self._point_near(centre)

    def _place(self, newest: int, log_ms: float, was: int) -> None:
        """Find the point: the middle of the densest windows, or nearer to their durations where there is room."""
        low, high = self.low, self.high
        twice = low + high
        middle = 0.5 * twice
        inside = 0.0 <= newest - middle < BINS
        centre = self.centre
        if not -2 * _MOVED <= twice - was <= 2 * _MOVED:
            self.centre = centre = log_ms if inside else middle * BIN + FIRST_CENTRE
        elif inside:
            self.centre = centre = centre + _CENTRE_RATE * (log_ms - centre)
        self._point_near(centre)

    def _point_near(self, centre: float) -> None:
        point = 0.5 * (self.low + self.high) * BIN + FIRST_CENTRE
        room = (0.5 * (self.high - self.low) - _MARGIN) * BIN
        if room > 0.0:
            least, most = point - room, point + room
            point = least if centre < least else min(centre, most)
        self.point = point

    def _drifted(self) -> bool:
        """Whether the last three agree with each other, and with next to nothing before."""
        recent = self.recent
        one, two, three = recent[-3], recent[-2], recent[-1]
        least = min(two, one)
        most = max(one, two)
        if three < least:
            least = three
        elif three > most:
            most = three
        if most - least > _AGREEING:
            return False
        window = ((least + most) >> 1) - BINS // 2 + 1  # the three lie in the middle of it
        old = self.counts[window - self.base] - RECENT_THREE
        return old <= _UNHEARD_OF * (self.total - RECENT_THREE)


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
