"""Rebalance: what waits although a slot is free is placed, and what is staged on the wrong worker moves.

A slot that becomes free takes the waiting task that is next for it, so between two events no task waits that a free
slot could take, whatever was reconfigured, overridden or lost in between. Rebalancing does not trust that: a round
offers every free slot once more to the waiting tasks that are next. `placed` counts what that has ever found.

What is left for it are staged tasks (prefetch): they have left the queue for one worker, and nobody else takes them up
however free. In a round those that are next in order and would start sooner elsewhere, by enough, are asked back. The
worker hands one back if it has not started it, and only then is the task placed anew, as any other: a task in progress
never moves, and none is in two places. Against going to and fro: a least gain that doubles with each move of a task, a
rest after each, a most per task and per round, and a worker asked back for is spoken for until it is over.
"""

from collections import Counter, deque
from collections.abc import Callable, Set
from enum import Enum
from functools import partial
from math import inf
from typing import NamedTuple

import numpy as np

from scheduler_server.assignment.effects import AskBack, Effect, HandOver, Published, Rebalanced
from scheduler_server.assignment.events import Rebalance
from scheduler_server.assignment.ledger import Ledger, TaskRecord
from scheduler_server.assignment.placement import Placement
from scheduler_server.assignment.queueing import Queue
from scheduler_server.assignment.rebalance_settings import RebalanceSettings
from scheduler_server.assignment.staged import Elsewhere, Move, RemainingOf, Search, held
from scheduler_server.model.clock import Now
from scheduler_server.model.decision import Cause
from scheduler_server.model.fleet_event import FleetEventKind, MakeEvent
from scheduler_server.registry.fleet import Fleet
from scheduler_server.registry.record import WorkerRecord
from scheduler_server.scorer import Scorer

_POOLS_AT_ONCE = 64
"""Pools whose free slots are offered again in one step."""

_WORKERS_A_ROUND = 1_000
"""Workers with staged tasks that one round looks at: 50 ms in all, in steps of about one."""

_PLACED_AT_ONCE = 32
"""Tasks placed in one step: about a millisecond."""

_BY_SCORE = frozenset({Cause.BEST_SCORE, Cause.ONLY_CANDIDATE})


class MoveEnd(Enum):
    """What came of asking a staged task back."""

    MOVED = "it was handed back and started its way on another worker"
    CAME_BACK = "it was handed back, and the best worker was the same one again"
    STARTED = "it had started, or ended, before it could be handed back"
    UNANSWERED = "its worker did not hand it back in time"


class _Asked(NamedTuple):
    """A task that is asked back: the worker that it is to go to, by when, and on which session it was asked."""

    lease: TaskRecord
    target: str
    gain_s: float
    until: float
    session: int


class Rebalancing:
    """Rounds at intervals, and by order.

    Invariants: `asked` has the leases that are asked back, each until it is handed back, has started or ended, or its
    time is over; nothing of a lease changes by its being there.
    """

    def __init__(
        self,
        settings: RebalanceSettings,
        fleet: Fleet,
        ledger: Ledger,
        queue: Queue,
        placement: Placement,
        now: Now,
        *,
        scorer: Callable[[], Scorer],
        remaining: RemainingOf,
        make_event: MakeEvent,
        watch: Callable[[float], None],
    ) -> None:
        self._settings = settings
        self._fleet = fleet
        self._ledger = ledger
        self._queue = queue
        self._placement = placement
        self._make_event = make_event
        self._watch = watch
        self._elsewhere = Elsewhere(settings, fleet, queue, placement, scorer, remaining)
        self.asked: dict[str, _Asked] = {}
        self._late: dict[str, _Asked] = {}  # those that were not handed back in time, while they are held
        self._deaf: frozenset[int] = frozenset()  # the sessions of those
        self._left: list[int] = []  # pools of this round whose free slots are still to be offered, by index
        self._shape = -1  # of the fleet, when these were listed
        self._search: Search | None = None
        self._turn: deque[WorkerRecord] = deque()  # workers that the rounds to come look at first
        self._room = 0  # tasks that this round may still place
        self._round_at = now.monotonic + settings.interval_s if settings.interval_s else inf
        self._lapse_at = inf
        self.next_at = self._round_at
        self.rounds = 0
        self.placed = 0  # waiting tasks that a round found a free slot for
        self.asked_back = 0
        self.ends: Counter[MoveEnd] = Counter()
        queue.moved = self.arrived

    def reconfigure(self, now: Now, settings: RebalanceSettings) -> None:
        """Go by these from the next round on."""
        before, self._settings = self._settings, settings
        self._elsewhere.settings = settings
        if settings.interval_s != before.interval_s:
            self._round_at = now.monotonic + settings.interval_s if settings.interval_s else inf
            self._plan(now)

    # ------------------------------------------------------------------ rounds

    def advance(self, now: Now, out: list[Effect]) -> None:
        """One step of what is due."""
        if now.monotonic >= self._lapse_at:
            self._lapse(now)
        if now.monotonic >= self._round_at and not self._left and self._search is None:
            self._begin(now)
        elif self._left:
            self._offer_again(now, out)
        elif self._search is not None and self._search.step(now):
            moves, self._search = list(self._search.moves()), None
            self._ask(now, moves, out)
        self._plan(now)

    def _plan(self, now: Now) -> None:
        busy = self._left or self._search is not None
        self.next_at = now.monotonic if busy else min(self._round_at, self._lapse_at)
        self._watch(self.next_at)

    def _begin(self, now: Now) -> None:
        settings, fleet = self._settings, self._fleet
        self._round_at = now.monotonic + settings.interval_s
        self.rounds += 1
        self._keep_late()
        self._room = settings.max_tasks
        if self._queue.waiting.placeable and self._queue.open:
            self._left = np.flatnonzero(fleet.bests.candidates[: len(fleet.pools)]).tolist()
            self._shape = fleet.shape
        if settings.move_staged and fleet.staging and self._queue.open:
            self._search = self._look_for(self._next_workers(), settings.max_tasks)

    def _offer_again(self, now: Now, out: list[Effect]) -> None:
        """Offer the free slots of some pools to the tasks that are next for them."""
        fleet, queue = self._fleet, self._queue
        if fleet.shape != self._shape or not self._room or not queue.open:
            self._left = []  # the pools are others now; the next round looks again
            return
        if fleet.opened:
            return  # what has just become free is given away first, as ever
        some, self._left = self._left[:_POOLS_AT_ONCE], self._left[_POOLS_AT_ONCE:]
        fleet.opened.extend(pool for at in some if (pool := fleet.pools[at]).counts[0])
        if fleet.opened:
            before = len(queue.waiting)
            queue.fill(now, out, min(self._room, _PLACED_AT_ONCE))
            found = before - len(queue.waiting)
            self.placed += found
            self._room -= found

    def _next_workers(self) -> list[WorkerRecord]:
        """Those that this round looks at; the next one goes on behind them."""
        if not self._turn:
            self._turn = deque(self._fleet.staging.values())
        return [self._turn.popleft() for _ in range(min(len(self._turn), _WORKERS_A_ROUND))]

    def search(self, most: int) -> Search:
        """Begin to look at all workers for staged tasks that would start sooner elsewhere; at most so many are kept."""
        return self._look_for(list(self._fleet.staging.values()), most)

    def _look_for(self, workers: list[WorkerRecord], most: int) -> Search:
        return Search(
            self._elsewhere,
            workers,
            most,
            asked=lambda lease: lease.lease_id in self.asked,
            passes=lambda record: not self._answers(record),
        )

    def _answers(self, record: WorkerRecord) -> bool:
        """Can this worker be asked? Not while it holds a task that it did not answer for: it may not know how to."""
        session = record.session
        if record.row < 0 or session is None or record.draining:
            return False
        return session not in self._deaf

    # ------------------------------------------------------------------ by order

    def order(self, now: Now, event: Rebalance, out: list[Effect]) -> None:
        """Place these waiting tasks where anybody can take them, and ask these staged ones back. One Rebalanced."""
        placed = []
        for key in event.tasks:
            waiter = self._queue.waiting.by_task.get(key)
            record = self._queue.offer(now, waiter, out) if waiter is not None and self._queue.open else None
            if record is not None:
                placed.append(record)
        self.placed += len(placed)
        moves = []
        for lease_id in event.leases:
            lease = self._ledger.leases.get(lease_id)
            if lease is not None and lease.live:
                moves.append(Move(lease, "", 0.0))
        asked = self._ask(now, moves, out)
        self._plan(now)
        out.append(Rebalanced(tuple(placed), tuple(asked)))

    # ------------------------------------------------------------------ moves

    def _ask(self, now: Now, moves: list[Move], out: list[Effect]) -> list[Move]:
        """Ask those back that are still better off elsewhere; which those are."""
        if not self._queue.open:
            return []
        asked = self.worth_it(now, moves)
        for move in asked:
            self._ask_one(now, move, out)
        return asked

    def worth_it(self, now: Now, moves: list[Move]) -> list[Move]:
        """Those of them that are worth it one after the other, each slot given away once. Nothing is changed."""
        fleet, elsewhere = self._fleet, self._elsewhere
        chosen: dict[str, Move] = {}
        spoken_for = Counter(each.target for each in self.asked.values())
        aside = [record for name, most in spoken_for.items() if (record := self._taken(name, most)) is not None]
        for record in aside:
            fleet.set_aside(record)
        try:
            for lease, _, _ in moves:
                origin = lease.worker
                if origin is None or lease.lease_id in self.asked or not self._answers(origin):
                    continue
                if not elsewhere.may_move(lease, now) or lease not in held(origin):
                    continue
                leaving = partial(_is_among, self.asked.keys() | chosen.keys())
                start_s, _ = elsewhere.starts(origin, now, leaving)
                fleet.set_aside(origin)
                aside.append(origin)
                move = elsewhere.better(now, origin, lease, start_s[lease.lease_id], {})
                if move is None:
                    continue
                chosen[lease.lease_id] = move
                spoken_for[move.target] += 1
                target = self._taken(move.target, spoken_for[move.target])
                if target is not None:
                    fleet.set_aside(target)
                    aside.append(target)
        finally:
            for record in aside:
                fleet.refresh(record)
        return list(chosen.values())

    def _taken(self, worker_id: str, coming: int) -> WorkerRecord | None:
        """The worker, if it has no free slot beyond those that tasks are on their way to."""
        record = self._fleet.records.get(worker_id)
        return record if record is not None and coming >= record.free else None

    def _ask_one(self, now: Now, move: Move, out: list[Effect]) -> None:
        lease = move.lease
        session = None if lease.worker is None else lease.worker.session
        if session is None:
            raise RuntimeError(f"lease {lease.lease_id!r} is asked back, and there is nobody to ask")
        until = now.monotonic + self._settings.confirm_within_s
        self.asked[lease.lease_id] = _Asked(lease, move.target, move.gain_s, until, session)
        self.asked_back += 1
        self._lapse_at = min(self._lapse_at, until)
        reason = f"it would start {move.gain_s:.1f} s sooner on worker {move.target!r}"
        out.append(AskBack(session, lease.lease_id, reason))

    def confirmed(self, lease: TaskRecord) -> bool:
        """A worker gives this lease back: was it asked to, for a move?"""
        if self.asked.pop(lease.lease_id, None) is not None:
            return True
        if self._late.pop(lease.lease_id, None) is None:
            return False
        self._keep_late()
        return True

    def arrived(self, now: Now, record: TaskRecord, out: list[Effect], since: int) -> None:
        """A task that was handed back for a move has been placed anew; what was said of it stands in `out` since."""
        before = record.previous.worker_id if record.previous is not None else ""
        if record.worker_id == before:
            self.ends[MoveEnd.CAME_BACK] += 1
            return
        self.ends[MoveEnd.MOVED] += 1
        cause = record.decision.cause
        if cause in _BY_SCORE:
            by_cause = self._placement.by_cause
            by_cause[cause] -= 1
            by_cause[Cause.REBALANCED] += 1
            record.decision = made = record.decision._replace(cause=Cause.REBALANCED)
            for at in range(since, len(out)):
                effect = out[at]
                if isinstance(effect, HandOver) and effect.decision.lease_id == record.lease_id:
                    out[at] = effect._replace(decision=made._replace(explanation=effect.decision.explanation))
        task = record.task
        detail = f"{task.task_id}, attempt {task.attempt}, moves {record.trail.moves}: it starts sooner there"
        kind = FleetEventKind.TASK_MOVED
        event = self._make_event(now, kind, record.worker_id, detail, before, record.worker_id, task.task_id)
        out.append(Published(event))

    def _lapse(self, now: Now) -> None:
        """Let go what has not been handed back in time, or has started or ended meanwhile."""
        for lease_id, each in list(self.asked.items()):
            if each.until > now.monotonic:
                continue
            del self.asked[lease_id]
            if each.lease.live and not each.lease.started_at:
                self.ends[MoveEnd.UNANSWERED] += 1
                self._late[lease_id] = each
            else:
                self.ends[MoveEnd.STARTED] += 1
        self._lapse_at = min((each.until for each in self.asked.values()), default=inf)
        self._keep_late()

    def _keep_late(self) -> None:
        """Forget those that have started or ended meanwhile."""
        late = {name: each for name, each in self._late.items() if each.lease.live and not each.lease.started_at}
        self._late, self._deaf = late, frozenset(each.session for each in late.values())


def _is_among(lease_ids: Set[str], lease: TaskRecord) -> bool:
    return lease.lease_id in lease_ids
