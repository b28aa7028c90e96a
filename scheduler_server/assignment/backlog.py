"""How long would a task that comes now wait, if all were served as they came?

The order `shortest` lets others go before a task for longer where the queue is long: a bound that is right for a minute
of backlog is no bound in an idle fleet, and lets nothing pass in one that is hours behind. So a task's allowance grows
with the wait that it comes to, in proportion to its own length against what is usual.

The wait is the work that waits for the same slots over those slots. It is held while it falls, and fades: a backlog
that is worked off would otherwise give each task that comes less than the ones before it, which are as long, and serve
it before them.
"""

_FADES = 0.1
"""Seconds by which the held wait falls in a second: a backlog of an hour is forgotten in ten."""

_LEARNS = 0.01
"""Weight of one task in the usual length: that of the last hundred or so."""

_LONGEST = 2.0
"""Usual lengths: a task is not put off for longer because it is longer than that."""

_LEAST_SLOTS = 0.5
"""Slots are whole, and their sum is an estimate."""


class Held:
    """The longest wait of late, as it was when it was last looked at."""

    __slots__ = ("_at", "_wait_s")

    def __init__(self) -> None:
        self._wait_s = self._at = 0.0

    def risen_to(self, now: float, wait_s: float) -> float:
        """What is held, with this wait of now; seconds, `now` monotonic."""
        faded_s = self._wait_s - _FADES * max(0.0, now - self._at)
        self._wait_s, self._at = max(wait_s, faded_s), now
        return self._wait_s


class Backlog:
    """What length is usual, and what follows from it."""

    def __init__(self) -> None:
        self._usual_s = 0.0  # 0: no task yet

    def learn(self, mean_s: float) -> None:
        """A task has come that is predicted to take so long on average."""
        usual_s = self._usual_s or mean_s
        self._usual_s = usual_s + _LEARNS * (mean_s - usual_s)

    def allowance(self, now: float, held: Held, mean_s: float, work_s: float, slots: float) -> float:
        """Seconds: the wait behind `work_s` slot-seconds, for a task of usual length; less for shorter ones.

        `now` in monotonic seconds, `mean_s` its predicted mean duration. Without any of the slots that could take it,
        the wait is what it was when there were some.
        """
        wait_s = held.risen_to(now, work_s / slots if slots >= _LEAST_SLOTS else 0.0)
        if wait_s <= 0.0 or self._usual_s <= 0.0:
            return 0.0
        return wait_s * min(_LONGEST, mean_s / self._usual_s)
