"""New workers start slowly: while others can do what they can, they have the use of a part of their slots at first.

A worker that nobody knows has all its slots free, so without this it is given its fill at once, with cold caches, and
before anybody can know whether it does its tasks at all. Its share grows from `first_share` to all, with time
(`over_s`) or with tasks done well (`tasks`), whichever is sooner; failing fast brings it nothing.

Only where that costs the fleet nothing that it had: a newcomer is held back while workers of the same pool that are
past this have at least as many slots as all that are held back. So a fleet that starts cold, a worker that alone can do
something, and newcomers that take over from workers which go, have all of their slots. A worker is no newcomer that
came back within the server's memory (its record, or a snapshot's).
"""

from collections.abc import Callable
from math import ceil

from scheduler_server.assignment.effects import Effect
from scheduler_server.assignment.sparing import ABLE, able
from scheduler_server.assignment.timers import Timers
from scheduler_server.model.clock import Now
from scheduler_server.registry import allowance
from scheduler_server.registry.admission_settings import RampSettings
from scheduler_server.registry.fleet import Fleet
from scheduler_server.registry.pool import Profile
from scheduler_server.registry.record import WorkerRecord

_WHY = "ramp"
_STEPS = 8
"""Steps in time: a share changes by a tenth from one to the next."""

_AT_ONCE = 256
"""Newcomers looked at in one step of the loop: half a millisecond."""


class _Newcomer:
    """A worker that registered lately. `held`: is it held back? `full` and `usable` are its slots as counted below."""

    __slots__ = ("at", "began", "done_before", "full", "held", "profile", "record", "usable")

    def __init__(self, record: WorkerRecord, now: Now) -> None:
        self.record = record
        self.began = self.at = now.monotonic
        self.done_before = record.completed
        self.profile = record.pool.profile
        self.full = record.full_slots
        self.usable = 0
        self.held = False


class Ramping:
    """Who is new.

    Invariant: by profile, `_new` has the slots that newcomers have the use of, `_held` all slots of those held back.
    """

    def __init__(self, settings: RampSettings, fleet: Fleet, watch: Callable[[float], None]) -> None:
        self._settings = settings
        self._fleet = fleet
        self._watch = watch
        self._timers: Timers[_Newcomer] = Timers(self._is_new)
        self._newcomers: dict[str, _Newcomer] = {}
        self._new: dict[Profile, int] = {}
        self._held: dict[Profile, int] = {}

    @property
    def next_at(self) -> float:
        """The monotonic second at which a share grows."""
        return self._timers.next_at

    def _is_new(self, at: float, newcomer: _Newcomer) -> bool:
        return newcomer.at == at and self._newcomers.get(newcomer.record.worker_id) is newcomer

    def reconfigure(self, settings: RampSettings) -> None:
        """Let newcomers start like this from now on; those that are held back go by it at their next step."""
        self._settings = settings

    def registered(self, now: Now, record: WorkerRecord, out: list[Effect]) -> None:
        """A worker has registered, or come back after it was removed."""
        self._known(record.worker_id)
        settings = self._settings
        if not settings.over_s or record.completed >= settings.tasks or record.leases:
            return
        newcomer = self._newcomers[record.worker_id] = _Newcomer(record, now)
        self._count(newcomer)
        if settings.first_share < 1.0 and self._spare(newcomer):
            newcomer.held = True
            _more(self._held, newcomer.profile, newcomer.full)
        self._step(now, newcomer)

    def _spare(self, newcomer: _Newcomer) -> bool:
        """Have others in its place at least the slots of those who are held back, it among them?"""
        profile, pool = newcomer.profile, newcomer.record.pool
        there = able(pool) + (newcomer.record.status not in ABLE)  # the worker itself is about to be
        known = pool.slots * there / len(pool.members) - self._new.get(profile, 0)
        return known >= self._held.get(profile, 0) + (0 if newcomer.held else newcomer.full)

    def _step(self, now: Now, newcomer: _Newcomer) -> None:
        """Give it the share that it has come to, and look again at the next step; all, and it is no newcomer more."""
        record, settings = newcomer.record, self._settings
        share = self._share(now, newcomer)
        if share >= 1.0 or record.row < 0:
            self._known(record.worker_id)
            return
        if newcomer.held:
            if self._spare(newcomer):
                self._hold(newcomer, share)
            else:
                self._let_go(newcomer)
        newcomer.at = now.monotonic + settings.over_s / _STEPS
        self._timers.watch(newcomer.at, newcomer)
        self._watch(self.next_at)

    def _share(self, now: Now, newcomer: _Newcomer) -> float:
        settings = self._settings
        if not settings.over_s:
            return 1.0
        by_time = (now.monotonic - newcomer.began) / settings.over_s
        by_tasks = (newcomer.record.completed - newcomer.done_before) / settings.tasks
        grown = max(by_time, by_tasks)
        return 1.0 if grown >= 1.0 else settings.first_share + (1.0 - settings.first_share) * grown

    def _count(self, newcomer: _Newcomer) -> None:
        usable = newcomer.record.slots
        _more(self._new, newcomer.profile, usable - newcomer.usable)
        newcomer.usable = usable

    def _hold(self, newcomer: _Newcomer, share: float) -> None:
        record = newcomer.record
        allowance.limit(self._fleet, record, _WHY, max(1, ceil(share * record.full_slots)))
        self._count(newcomer)

    def _let_go(self, newcomer: _Newcomer) -> None:
        if newcomer.held:
            newcomer.held = False
            _more(self._held, newcomer.profile, -newcomer.full)
            if newcomer.record.row >= 0:
                allowance.limit(self._fleet, newcomer.record, _WHY, None)
                self._count(newcomer)

    def _known(self, worker_id: str) -> None:
        newcomer = self._newcomers.pop(worker_id, None)
        if newcomer is not None:
            self._let_go(newcomer)
            _more(self._new, newcomer.profile, -newcomer.usable)

    def done(self, now: Now, record: WorkerRecord) -> None:
        """A task of a worker that is held back was done well."""
        newcomer = self._newcomers.get(record.worker_id)
        if newcomer is None or not newcomer.held or newcomer.record is not record:
            return
        share = self._share(now, newcomer)
        if share >= 1.0:
            self._known(record.worker_id)
        else:
            self._hold(newcomer, share)

    def advance(self, now: Now, out: list[Effect]) -> None:
        """Take the steps that are due, a bounded number of them."""
        for _ in range(_AT_ONCE):
            newcomer = self._timers.due(now.monotonic)
            if newcomer is None:
                return
            self._step(now, newcomer)


def share(record: WorkerRecord) -> float | None:
    """The share of its slots that a worker has the use of while it is held back as new; None: it is not."""
    slots = record.slot_limits.get(_WHY)
    return None if slots is None else min(1.0, slots / record.full_slots)


def _more(sums: dict[Profile, int], profile: Profile, slots: int) -> None:
    left = sums.get(profile, 0) + slots
    if left > 0:
        sums[profile] = left
    else:
        sums.pop(profile, None)
