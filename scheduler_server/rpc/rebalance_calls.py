"""AdminService.RebalanceWaiting: offer free slots to the waiting tasks that are next, and move staged ones.

What has to look at every waiting task, or every worker that holds staged ones, does so in slices; what is done is done
a few tasks at a time, each judged as things are then.
"""

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from scheduler_api.v1 import admin_service_pb2
from scheduler_server.assignment.dry_run import DryRun
from scheduler_server.assignment.effects import Rebalanced
from scheduler_server.assignment.events import Look, Rebalance
from scheduler_server.assignment.ledger import TaskRecord
from scheduler_server.assignment.staged import Move
from scheduler_server.assignment.waiting import Waiter
from scheduler_server.model.decision import Decision, without
from scheduler_server.rpc import encode
from scheduler_server.rpc.checks import MAX_ITEMS, Checker
from scheduler_server.rpc.paging import Page, Position, Turn
from scheduler_server.rpc.shell import Shell
from scheduler_server.rpc.steering import reason_of

_MOST = 10
"""Tasks looked at where the request does not say: the specification's batch."""

_AT_ONCE = 32
"""Tasks placed, or asked back, in one event: about a millisecond."""


class RebalanceCalls:
    """The method: check the message, look, do, encode the answer. What can be refused is told by exception."""

    def __init__(self, shell: Shell, refuse_when_draining: Callable[[], None]) -> None:
        self._shell = shell
        self._core = shell.core
        self._refuse_when_draining = refuse_when_draining

    async def RebalanceWaiting(
        self, request: admin_service_pb2.RebalanceWaitingRequest, context: Any
    ) -> admin_service_pb2.RebalanceWaitingResponse:
        """Place what waits, and move what is staged."""
        checker = Checker()
        most = checker.count("max_tasks", request.max_tasks, 0, MAX_ITEMS) or _MOST
        reason_of(checker, request)
        checker.done()
        self._refuse_when_draining()
        self._shell.handle(Look())
        response = admin_service_pb2.RebalanceWaitingResponse()
        first = await self._first(most)
        placed = await (self._would_place(first) if request.dry_run else self._place(first))
        for decision in placed:
            encode.decision(response.placed.add(), decision)
        if request.move_staged:
            for move in await self._move(most, dry_run=request.dry_run):
                message = response.moves.add()
                encode.task_key(message.task, move.lease.task.key)
                message.from_worker_id = move.lease.worker_id
                message.to_worker_id = move.target
                encode.set_span(message.gain, move.gain_s)
        response.examined = len(first)
        response.waiting_tasks = len(self._core.queue.waiting)
        return response

    async def _first(self, most: int) -> list[Waiter]:
        """The tasks that are next and might be placed."""
        page: Page[Waiter] = Page(most, None, backwards=False)
        turn = Turn()
        for waiter in list(self._core.queue.waiting.by_task.values()):
            if turn.over():
                await turn.pause()
            if waiter.placeable and not waiter.gone:
                page.offer(Position(0, waiter.rank_key[0], f"{waiter.sequence:020d}"), waiter)
        return [waiter for _, waiter in page.rows()]

    async def _place(self, waiters: list[Waiter]) -> list[Decision]:
        placed: list[TaskRecord] = []
        turn = Turn()
        for at in range(0, len(waiters), _AT_ONCE):
            if turn.over():
                await turn.pause()
            tasks = [each.event.task for each in waiters[at : at + _AT_ONCE] if not each.gone]
            done: Rebalanced = self._shell.handle(Rebalance(tasks=tuple((each.tenant, each.task_id) for each in tasks)))
            placed += done.placed
        for record in placed:
            await self._shell.sure(record.lease_id)
        return [without(record.decision) for record in placed]

    async def _would_place(self, waiters: list[Waiter]) -> list[Decision]:
        """What each would be answered, each slot given away once."""
        made: list[Decision] = []
        given: Counter[str] = Counter()
        turn = Turn()
        for waiter in waiters:
            if turn.over():
                await turn.pause()
            if waiter.gone or not waiter.placeable:
                continue
            run = DryRun(self._core, waiter.event, time.perf_counter)
            decision = None if run.needs_scan else run.decide(self._shell.now(), 0)
            if not isinstance(decision, Decision):
                continue
            record = self._core.fleet.records.get(decision.worker_id)
            if record is None or given[decision.worker_id] >= max(1, record.free):
                continue
            given[decision.worker_id] += 1
            made.append(without(decision))
        return made

    async def _move(self, most: int, *, dry_run: bool) -> list[Move]:
        rebalancing = self._core.rebalancing
        search = rebalancing.search(most)
        turn = Turn()
        while not search.step(self._shell.now()):
            if turn.over():
                await turn.pause()
        found = list(search.moves())
        if dry_run:
            return rebalancing.worth_it(self._shell.now(), found)
        moves: list[Move] = []
        for at in range(0, len(found), _AT_ONCE):
            if turn.over():
                await turn.pause()
            leases = tuple(move.lease.lease_id for move in found[at : at + _AT_ONCE])
            done: Rebalanced = self._shell.handle(Rebalance(leases=leases))
            moves += done.moves
        return moves
