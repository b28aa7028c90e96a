"""How late a worker's samples are, as far as the ends of its leases prove it.

A sample says nothing of a lease that was granted after it was taken, and nobody knows when that was: clocks differ.
Until something shows otherwise samples are taken to be on time. What shows otherwise is a sample that contradicts the
ledger about a task whose end was told: it names one that had ended long before, or leaves out one that was at work.
"""

from collections.abc import Iterable
from math import inf

from scheduler_server.assignment.ledger import TaskRecord
from scheduler_server.model.outcome import OutcomeStatus
from scheduler_server.model.task import TaskState

_NOTABLE = 1 / 3
"""Share of the grace beyond which a sample is late: with the settings that nobody changed the longest time between two
heartbeats. Crossing messages and slow hand-overs are below it."""

_KEPT = 10.0
"""Ends prove the least that samples are late by: so many times longer a lease need not show in a count. What was shown
is believed for as many times its own length, or the time until a lease is lost track of if that is longer."""

_SHARE = 0.05
"""Weight of one sample in a worker's average load: twenty samples are some hundred seconds."""

_MOST_WATCHED = 64
"""Leases of one worker that are watched: enough to prove what can be proved, and bounded on workers of many slots."""

_MOST_GONE = 8
"""Leases given up that are remembered, likewise."""

_NOTHING = ("", 0.0, -inf)

_RAN = frozenset({OutcomeStatus.SUCCEEDED, OutcomeStatus.FAILED})


class Others:
    """What was shown lately of two workers: what is to be believed of one of which nothing is known yet.

    Two, because one may do nothing but keep in its list what is over.
    """

    __slots__ = ("_first", "_second")

    def __init__(self) -> None:
        self._first = self._second = _NOTHING

    def shown(self, now: float, worker_id: str, lag_s: float) -> None:
        """The samples of a worker are late by this at least."""
        if worker_id != self._first[0]:
            self._second = self._first
        self._first = (worker_id, lag_s, now)

    def lag_s(self, now: float, lost_track_after_s: float) -> float:
        """How late both were; 0: for all that is known, samples are on time."""
        return min(_kept(now, lag_s, at, lost_track_after_s) for _, lag_s, at in (self._first, self._second))


class Lateness:
    """What is known of the age of one worker's samples. Times are monotonic seconds.

    `taken_at`: when its last running list was taken, at the earliest. It is kept from the first doubt on.
    """

    __slots__ = (
        "_busy", "_counted", "_gone", "_lag_s", "_load", "_occupied", "_others", "_samples", "_shown_at", "_watched",
        "_watched_at", "taken_at", "worker_id",
    )  # fmt: skip

    def __init__(self, worker_id: str, others: Others) -> None:
        self.worker_id = worker_id
        self.taken_at = -inf
        self._others = others
        self._load = self._occupied = 0.0  # on average
        self._samples = 0  # in these averages
        self._lag_s = 0.0
        self._shown_at = -inf
        self._watched: tuple[TaskRecord, ...] = ()  # the ledger had them when a sample came that had fewer
        self._watched_at = 0.0  # when it came
        self._counted = 0  # how many of them it may have counted
        self._busy = (inf, -inf, 0)  # from when until when more than so many were at work, as far as is proved
        self._gone: tuple[TaskRecord, ...] = ()  # given up, and nobody has told their end

    def lag_s(self, now: float, lost_track_after_s: float) -> float:
        """How late its samples are at least, as shown lately; 0: for all that is known, they are on time."""
        if self._lag_s:
            self._lag_s = _kept(now, self._lag_s, self._shown_at, lost_track_after_s)
        # No list of it has named a lease that was in doubt: then what is known of others is the best guess.
        return self._lag_s or (self._others.lag_s(now, lost_track_after_s) if self.taken_at == -inf else 0.0)

    def named(self, now: float, lease: TaskRecord, grace_s: float) -> None:
        """A list that has just come names a lease that is over."""
        self.taken_at = max(self.taken_at, lease.granted_at)
        if lease.state is TaskState.FINISHED:
            self._busy = (inf, -inf, 0)  # it was taken in the midst of it
            self._shown(now, now - lease.ended_at, grace_s)
        elif lease.state is TaskState.LOST and lease in self._gone:
            self._wrong(now, lease, grace_s)

    def _shown(self, now: float, lag_s: float, grace_s: float) -> None:
        if lag_s > grace_s * _NOTABLE:
            self._lag_s = max(self._lag_s, lag_s)
            self._shown_at = now
            self._others.shown(now, self.worker_id, self._lag_s)

    def _wrong(self, now: float, lease: TaskRecord, grace_s: float) -> None:
        """It was given up, and was there."""
        self._gone = tuple(each for each in self._gone if each is not lease)
        self._shown(now, lease.ended_at - lease.granted_at, grace_s)

    def gave_up(self, lease: TaskRecord) -> None:
        """It was given up because samples did not have it: if its end is told yet, that was wrong."""
        self._gone = (*self._gone[-_MOST_GONE + 1 :], lease)

    def look(self, now: float, grace_s: float) -> None:
        """What have the ends told since then shown of the sample that was watched?"""
        for lease in self._gone:
            if lease.reported and lease.outcome is not None and lease.outcome.status in _RAN:
                self._wrong(now, lease, grace_s)
        watched = self._watched
        if not watched:
            return
        began = sorted(at for at in map(_began, watched) if at < self._watched_at)
        if len(began) > self._counted:  # since then more were at work than it has: it is older than that
            since = began[self._counted]
            before_since, before_until, before_counted = self._busy
            if before_counted >= self._counted and before_until >= since:
                since = min(since, before_since)  # and older than what is proved of the time before
            self._busy = (since, self._watched_at, self._counted)
            self._shown(now, self._watched_at - since, grace_s)
            self._watched = ()
        elif not any(lease.live for lease in watched):
            self._watched = ()

    def watch(self, now: float, leases: Iterable[TaskRecord], counted: int) -> None:
        """A sample that has just come has only so many of these, oldest first.

        One that has some of them is watched until their ends are told, and the next ones are not.
        """
        if not self._watched or not counted:
            self._watched = tuple(lease for lease, _ in zip(leases, range(_MOST_WATCHED), strict=False))
            self._watched_at = now
            self._counted = counted

    def usual(
        self, now: float, load: float, occupied: int, at_sample: float, lost_track_after_s: float
    ) -> tuple[float, float]:
        """The load to go by, and how many slots were taken with it; `load` of a sample, `occupied` by the ledger.

        A late sample's load is that of tasks which have ended, and would say free of who is busy. Its average belongs
        to the average of what we gave the worker, whenever that was, and tells what others do there.
        """
        self._samples += 1
        share = max(_SHARE, 1.0 / self._samples)
        self._load += (load - self._load) * share
        self._occupied += (occupied - self._occupied) * share
        if self.lag_s(now, lost_track_after_s):
            return self._load, self._occupied
        return load, at_sample

    def complete(self) -> bool:
        """A list that has just come has them all. True where nothing is known that is worth keeping."""
        self._watched = ()
        return not self._lag_s and not self._gone

    def patience_s(self, lag_s: float) -> float:
        """How long after its grant a lease need not show in samples."""
        return _KEPT * lag_s


def _kept(now: float, lag_s: float, shown_at: float, lost_track_after_s: float) -> float:
    return lag_s if now - shown_at <= _KEPT * max(lag_s, lost_track_after_s) else 0.0


def _began(lease: TaskRecord) -> float:
    """When it was at work for certain, at the latest; infinity where nobody has told its end."""
    outcome = lease.outcome
    if lease.state is not TaskState.FINISHED or outcome is None or outcome.duration_ms is None:
        return inf
    if outcome.status not in _RAN:
        return inf
    return max(lease.granted_at, lease.ended_at - outcome.duration_ms / 1_000.0)
