"""Does a worker fail out of line? The test; docs/ejection.md has its reasons and its errors as measured.

Each outcome of a worker is held against outcomes of the same kind of task elsewhere at the same time. Its outcomes and
those of all others come in turns: a **stretch** is what others ended since its last outcome, and what it ended then
before others had their next turn. Given how many of a stretch failed, a worker like the others has its share of these
failures by chance alone, whatever their rate: a kind that fails everywhere speaks against nobody, and neither does one
whose rate moves. The evidence of a stretch is the log of how much likelier its outcomes are on a worker whose odds of
failing are `WORSE` times those of the others. Evidence is summed and never below 0 (Page's test): what was long ago, or
is made good by successes, is forgotten. Lorden 1971: it takes a worker like the others at least e**limit outcomes, on
average, to come to the limit.

So that a burst of failures with one cause counts once, of the shorter side of a stretch only the mean counts, as one
outcome: no stretch says more than log(WORSE).
"""

from math import inf, log

WORSE = 10.0
"""Odds of failing, times those elsewhere, that the test looks for. A smaller factor takes longer to be sure of a worker
that fails everything; a larger one overlooks those that fail a third."""

MOST_TRACKS = 64
"""Kinds of task that one suspect is followed in; one more, and the oldest is let go."""

_LOG_WORSE = log(WORSE)
_RECENT = 1 / 16
"""Share of the latest outcome in a kind's recent share of failures, once there are more."""


class Totals:
    """Outcomes of one kind of task, of all workers since the start; `recent` is the share of failures of late."""

    __slots__ = ("ended", "failed", "recent")

    def __init__(self) -> None:
        self.ended = 0
        self.failed = 0
        self.recent = 0.0

    def add(self, failed: bool) -> None:
        """One more."""
        self.ended += 1
        self.failed += failed
        self.recent += (failed - self.recent) * max(_RECENT, 1.0 / self.ended)


class Track:
    """A suspect in one kind of task. `score` is the evidence in it; the other fields are of the current stretch."""

    __slots__ = (
        "began_ended", "began_failed", "closed", "ended", "failed", "of_all", "others", "others_failed", "own_ended",
        "own_failed", "score", "seen_ended", "seen_failed", "totals",
    )  # fmt: skip

    def __init__(self, totals: Totals) -> None:
        self.totals = totals
        self.began_ended, self.began_failed = totals.ended, totals.failed
        self.seen_ended, self.seen_failed = totals.ended, totals.failed  # all that ended up to its last outcome
        self.own_ended = self.own_failed = 0  # of the worker, since it is followed
        # Of the stretch. Nobody counts before there is a suspect, so the first one is held against one outcome like the
        # latest; those of the worker itself are among these, which speaks for it.
        self.others = 1 if totals.ended else 0
        self.others_failed = totals.recent
        self.ended = self.failed = 0  # of the stretch, of the worker
        self.closed = 0.0  # evidence of the stretches before
        self.of_all = 0.0  # what the stretch has added to the evidence of all kinds
        self.score = 0.0

    @property
    def elsewhere(self) -> tuple[int, int]:
        """What others ended since this is followed, and how much of it failed."""
        ended, failed = self.seen_ended - self.began_ended, self.seen_failed - self.began_failed
        return ended - self.own_ended, failed - self.own_failed


class Suspicion:
    """What speaks against one worker, from its first failure on; over once nothing does.

    `score` is the evidence of all kinds of task together. Each kind has its own besides: a worker may fail one kind
    only, among many of another that it does well.
    """

    __slots__ = ("looked_at", "score", "tracks")

    def __init__(self, score: float = 0.0) -> None:
        self.tracks: dict[object, Track] = {}
        self.score = score
        self.looked_at = 0.0  # monotonic second from which on it may be asked again whether it can be ejected

    def took(self, kind: object, totals: Totals, failed: bool, tolerated: float, most: float = inf) -> float:
        """Take in one outcome of the worker, before it is in the totals; answers the most evidence of any sort.

        No evidence rises above `most`: who is not ejected then is not to do well for ever to make it good.
        """
        track = self.tracks.get(kind)
        if track is None or track.totals is not totals:
            if len(self.tracks) >= MOST_TRACKS:
                del self.tracks[next(iter(self.tracks))]
            self.tracks[kind] = track = Track(totals)
        track.own_ended += 1
        track.own_failed += failed
        others = totals.ended - track.seen_ended
        if others:  # they had their turn: a new stretch
            track.closed, track.of_all = track.score, 0.0
            track.others, track.others_failed = others, totals.failed - track.seen_failed
            track.ended = track.failed = 0
        track.seen_ended, track.seen_failed = totals.ended + 1, totals.failed + failed
        if not track.others:  # nobody else has ended anything: nothing to hold it against
            return max(self.score, track.score)
        track.ended += 1
        track.failed += failed
        value = evidence(
            track.ended, track.failed / track.ended, track.others, track.others_failed / track.others, tolerated
        )
        track.score = min(most, max(0.0, track.closed + value))
        before = max(0.0, self.score - track.of_all)
        self.score = min(most, max(0.0, before + value))
        track.of_all = self.score - before
        return max(self.score, track.score)

    @property
    def over(self) -> bool:
        """Does nothing speak against it any more?"""
        return self.score <= 0.0 and all(track.score <= 0.0 for track in self.tracks.values())

    def worst(self) -> tuple[object, Track] | None:
        """The kind of task with the most evidence."""
        return max(self.tracks.items(), key=lambda item: item[1].score, default=None)


def evidence(own: int, own_share: float, others: int, others_share: float, tolerated: float) -> float:
    """The evidence of one stretch against a worker: natural log of a likelihood ratio, at most log(WORSE).

    `own` and `others`, at least 1, are how many ended; the shares are of failures, 0-1. Others are taken to fail
    `tolerated` of what they did not. With n own outcomes of which x failed, m of others of which y did, K = x + y and
    n = 1, the failures being given, x is 1 with probability K / (m + 1), and W K / (W K + m + 1 - K) at W times the
    odds. With m = 1 the same holds of the other one, at 1 / W times the odds.
    """
    others_share += tolerated * (1.0 - others_share)
    if own <= others:
        failed = (own_share + others * others_share) / (1 + others)
        return own_share * _LOG_WORSE - log(1.0 + (WORSE - 1.0) * failed)
    failed = (own * own_share + others_share) / (own + 1)
    return -others_share * _LOG_WORSE - log(1.0 - (1.0 - 1.0 / WORSE) * failed)
