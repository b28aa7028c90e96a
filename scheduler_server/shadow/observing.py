"""Policies that decide beside the live one: hear of leases, look in slices, judge when they have ended."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextvars import Context
from random import Random
from typing import Any, NamedTuple, Protocol

from scheduler_server.assignment.core import Scheduler
from scheduler_server.assignment.dry_run import needs_of
from scheduler_server.assignment.events import Submit
from scheduler_server.assignment.ledger import TaskRecord
from scheduler_server.model.clock import Now, Stopwatch
from scheduler_server.registry.eligibility import EligibilityClass
from scheduler_server.shadow.judging import Choice, chosen, judged, lived, took_s
from scheduler_server.shadow.kept import FAILED, Kept, Rows
from scheduler_server.shadow.policies import CannotChoose, Policy, Situation, make
from scheduler_server.shadow.seats import Able, Seat
from scheduler_server.shadow.settings import CALLER, PLAIN, ShadowSettings
from scheduler_server.storage.decision_log import Shadowed

_LOG = logging.getLogger(__name__)

MOST_WAITING = 256
"""Decisions that wait to be looked at; overflow: the oldest goes, unseen and counted, as its moment is longest ago."""

MOST_UNJUDGED = 10_000
"""Decisions that wait for the end of their lease; overflow: the oldest is never judged."""

_SLICE_S = 0.001
"""How long the loop is held at a time, but for the last decision looked at."""

_AFTER_S = 0.002
"""How long a decision waits at least: the answer to the live caller goes first, and a burst is one slice."""

_NAN = float("nan")

Put = Callable[[Any], bool]


class Followed(Protocol):
    """What the shell offers to whoever follows it."""

    core: Scheduler
    changes: list[Any]

    def now(self) -> Now:
        """The present instant."""


class Counts(NamedTuple):
    """Of one policy since the start of the server: decisions compared, how many with the same worker, and failures."""

    compared: int
    agreed: int
    failed: int


class _Tried:
    """A policy, its comparisons, and what is counted of it."""

    def __init__(self, name: str, policy: Policy, kept: int) -> None:
        self.name = name
        self.policy = policy
        self.kept = Kept(kept)
        self.compared = self.agreed = self.failed = 0
        self.complained = False  # of a policy that raised what it should not


class _Unjudged(NamedTuple):
    live: TaskRecord
    lived_as: Choice
    others: list[tuple[_Tried, int, Choice]]  # and the number of its row


class Shadow:
    """Follows the shell while there are policies to try. Everything is for the loop's thread; nothing acts.

    `put` takes an entry for the decision log, where there is one. Counts, and `spent_s` of the loop's time, are since
    the start; `skipped` were seen and could not be compared, as the fleet was another by then.

    Invariants: it is among the shell's changes exactly while there are policies; every decision heard of since was
    seen, dropped, or waits.
    """

    def __init__(
        self, shell: Followed, settings: ShadowSettings, *, put: Put | None, random: Random, stopwatch: Stopwatch
    ) -> None:
        self._shell = shell
        self._core = shell.core
        self._put = put
        self._draw = random.random
        self._stopwatch = stopwatch
        self._waiting: deque[TaskRecord] = deque(maxlen=MOST_WAITING)
        self._ended: deque[str] = deque()  # leases to be judged
        self._unjudged: dict[str, _Unjudged] = {}
        self._tried: dict[str, _Tried] = {}
        self._heard = 0
        self._forgotten = 0  # heard of, and then there was no policy any more
        self.seen = self.skipped = 0
        self.spent_s = 0.0
        self._complained = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._nobodys = Context()  # no log record of a slice may carry the trace of the call that began it
        self._rest_until = 0.0
        self._scorers: object = None  # the settings that scorers were made by
        self.settings = ShadowSettings()
        self.reconfigure(settings)

    # ------------------------------------------------------------------ life

    def start(self) -> None:
        """Begin to look, on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._arm()

    def close(self) -> None:
        """Look no more."""
        self._loop = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self in self._shell.changes:
            self._shell.changes.remove(self)

    def reconfigure(self, settings: ShadowSettings) -> None:
        """Try these policies from now on. Those that stay keep what was compared; those that go lose it."""
        before, self.settings = self._tried, settings
        self._tried = {name: before.get(name) or self._new(name) for name in settings.policies}
        for tried in self._tried.values():
            kept = tried.kept.resize(settings.kept)
            if kept is not tried.kept:
                tried.kept = kept
                self._forget_unjudged()
        if not self._tried:
            self._forgotten += len(self._waiting)
            self._waiting.clear()
            self._forget_unjudged()
        follows = self in self._shell.changes
        if self._tried and not follows:
            self._shell.changes.append(self)
        elif follows and not self._tried:
            self._shell.changes.remove(self)

    def _new(self, name: str) -> _Tried:
        return _Tried(name, make(name, self._core.settings.scorer, self._draw), self.settings.kept)

    def _forget_unjudged(self) -> None:
        self._unjudged.clear()
        self._ended.clear()

    # ------------------------------------------------------------------ the shell's changes

    def of_lease(self, record: TaskRecord) -> None:
        """It was granted, or is over: remember that. This is all that the live path pays."""
        if record.live:
            self._waiting.append(record)
            self._heard += 1
        elif record.lease_id in self._unjudged:
            self._ended.append(record.lease_id)
        else:
            return
        if self._timer is None:
            self._arm()

    def of_moved(self, record: TaskRecord, state: object) -> None:
        """It was acknowledged, or started: known when it ends."""

    def of_waiting(self, waiter: object) -> None:
        """There is no decision yet."""

    def of_unplaced(self, ended: object) -> None:
        """There was none."""

    def hold(self) -> None:
        """A decision is compared when it is made."""

    def release(self) -> None:
        """Likewise."""

    # ------------------------------------------------------------------ what is known

    @property
    def names(self) -> tuple[str, ...]:
        """The policies that are tried, in the order of the settings."""
        return tuple(self._tried)

    @property
    def dropped(self) -> int:
        """Decisions that no policy has seen, because too many waited."""
        return self._heard - self._forgotten - self.seen - len(self._waiting)

    @property
    def waiting(self) -> int:
        """Decisions that are still to be looked at."""
        return len(self._waiting)

    @property
    def counts(self) -> dict[str, Counts]:
        """By policy."""
        return {name: Counts(each.compared, each.agreed, each.failed) for name, each in self._tried.items()}

    def rows(self, name: str) -> Rows:
        """The comparisons kept of a policy, oldest first; a million numbers at most, copied in milliseconds."""
        return self._tried[name].kept.rows()

    def put_before(self, name: str, older: Rows) -> None:
        """Comparisons of a policy from before the start."""
        if name in self._tried:
            self._tried[name].kept.put_before(older)

    # ------------------------------------------------------------------ slices

    def _arm(self) -> None:
        loop = self._loop
        if loop is None or not (self._waiting or self._ended):
            return
        delay_s = max(_AFTER_S, self._rest_until - self._stopwatch())
        self._timer = loop.call_later(delay_s, self._slice, context=self._nobodys)

    def _slice(self) -> None:
        self._timer = None
        self.look(_SLICE_S)
        self._arm()

    def look(self, within_s: float) -> None:
        """Look at what waits and judge what has ended, until there is no more or the time is up."""
        began = now = self._stopwatch()
        until = began + within_s
        self._adopt()
        while (self._waiting or self._ended) and now <= until:
            try:
                if self._ended:
                    self._judge(self._ended.popleft())
                else:
                    self.seen += 1
                    self._compare(self._waiting.popleft())
            except Exception:  # noqa: BLE001 -- whatever goes wrong beside the live path must stay there
                self.skipped += 1
                if not self._complained:
                    self._complained = True
                    _LOG.exception("a decision could not be compared with those of other policies; told once")
            now = self._stopwatch()
        spent = now - began
        self.spent_s += spent
        share = self.settings.loop_share
        self._rest_until = now + spent * (1.0 - share) / share

    def _adopt(self) -> None:
        """Scorers go by the weights that are in force."""
        settings = self._core.settings.scorer
        if settings is not self._scorers:
            self._scorers = settings
            for tried in self._tried.values():
                if tried.name not in PLAIN and tried.name != CALLER:
                    tried.policy = make(tried.name, settings, self._draw)

    # ------------------------------------------------------------------ compared

    def _compare(self, live: TaskRecord) -> None:
        eligible = self._eligible(live)
        worker = self._core.fleet.records.get(live.worker_id)
        if eligible is None or worker is None:
            self.skipped += 1  # its worker was removed meanwhile, or tasks are sorted by other labels
            return
        able = Able(eligible.pools, live)
        seats = able.seats(worker, self._draw)
        situation = Situation(self._core.fleet, live, eligible, able, seats)
        lived_as = lived(live, worker, next((seat for seat in seats if seat.record is worker), None))
        others = []
        for tried in self._tried.values():
            if not tried.policy.wants(live):
                continue
            other = self._choice(tried, situation, lived_as)
            if isinstance(other, str):
                self._failed(tried, live, other)
            else:
                others.append((tried, self._compared(tried, live, lived_as, other), other))
        if not others:
            return
        unjudged = self._unjudged
        if len(unjudged) >= MOST_UNJUDGED:
            del unjudged[next(iter(unjudged))]
        unjudged[live.lease_id] = _Unjudged(live, lived_as, others)
        if not live.live:
            self._judge(live.lease_id)

    def _eligible(self, live: TaskRecord) -> EligibilityClass | None:
        event = Submit(live.task, live.delivery)
        overrides = self._core.placement.overrides
        needs = needs_of(self._core, event, None if overrides is None else overrides.bounds_now(event))
        return None if needs is None or not needs.exact else needs.eligible

    def _choice(self, tried: _Tried, at: Situation, lived_as: Choice) -> Choice | str:
        """What the policy chooses, or why it cannot."""
        live = at.live
        try:
            seat: Seat = tried.policy.choose(at)
            if seat.record is lived_as.worker:
                return lived_as
            prediction = live.decision.prediction
            default_ms = self._core.settings.predictor.default_ms
            point_ms = default_ms if prediction is None else prediction.point_ms
            return chosen(seat, live.granted_at, point_ms)
        except CannotChoose as why:
            return str(why)
        except Exception as error:  # noqa: BLE001 -- a scorer is a plug-in: its policy has failed, and only that
            if not tried.complained:
                tried.complained = True
                _LOG.warning("shadow policy %s fails: %r; told once", tried.name, error)
            return f"{type(error).__name__}: {error}"

    def _compared(self, tried: _Tried, live: TaskRecord, lived_as: Choice, other: Choice) -> int:
        decision = live.decision
        agreed = other.worker is lived_as.worker
        tried.compared += 1
        tried.agreed += agreed
        row = (float(agreed), lived_as.wait_s, other.wait_s, lived_as.finish_s, other.finish_s, _NAN, _NAN)
        self._record(tried.name, live, other.worker.worker_id, other.wait_s, other.lasts_s, "")
        return tried.kept.add(decision.decided_at, decision.task_type, row)

    def _failed(self, tried: _Tried, live: TaskRecord, why: str) -> None:
        tried.failed += 1
        decision = live.decision
        self._record(tried.name, live, "", 0.0, 0.0, why)
        tried.kept.add(decision.decided_at, decision.task_type, FAILED)

    def _record(self, name: str, live: TaskRecord, worker_id: str, wait_s: float, lasts_s: float, error: str) -> None:
        if self._put is not None:
            self._put(Shadowed(name, live.decision, worker_id, wait_s * 1e3, lasts_s * 1e3, 0.0, "", "", error[:_MOST]))

    # ------------------------------------------------------------------ judged

    def _judge(self, lease_id: str) -> None:
        unjudged = self._unjudged.pop(lease_id, None)
        if unjudged is None:
            return
        live, lived_as, others = unjudged
        took = took_s(live)
        if took is None:
            return
        now = self._shell.now().monotonic
        for tried, number, other in others:
            if self._tried.get(tried.name) is tried:
                tried.kept.judge(number, *judged(live, lived_as, other, took, now))


_MOST = 500  # characters of why a policy has failed
