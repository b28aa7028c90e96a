"""Between lease and hand-over.

Payloads that stayed in the stream are fetched, and what may be another server's by now is asked after. Everything else
is handed over at once.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from math import inf

from scheduler_server.assignment.ledger import TaskRecord
from scheduler_server.dispatch import Owner, Wire
from scheduler_server.dispatch.entries import DeadLetter, DeadReason, EntryRefused
from scheduler_server.dispatch.gateway import Gateway
from scheduler_server.dispatch.holdings import Holding, Holdings
from scheduler_server.dispatch.intake import Intake
from scheduler_server.dispatch.ownership import Ownership, Run
from scheduler_server.model.task import Task

_AT_ONCE = 64


class Keeper:
    """The shell asks it before it binds a lease of a task whose entry is here. For the loop's thread.

    A lease that is kept back is neither written down nor offered: a server that is killed meanwhile reads the entry
    again, and the time for its acknowledgement begins when it is sent.
    """

    def __init__(
        self,
        owner: Owner,
        wire: Wire,
        gateway: Gateway,
        run: Run,
        intake: Intake,
        holdings: Holdings,
        ownership: Ownership,
        *,
        wake: Callable[[], None],
        works: Callable[[], bool],
    ) -> None:
        self._owner = owner
        self._wire = wire
        self._gateway = gateway
        self._run = run
        self._intake = intake
        self._holdings = holdings
        self._ownership = ownership
        self._wake = wake
        self._works = works
        self._kept: deque[TaskRecord] = deque()

    def __len__(self) -> int:
        return len(self._kept)

    def keeps(self, record: TaskRecord) -> bool:
        """Is this one to wait? Then `Owner.complete` is called for it."""
        holding = self._of(record)
        if holding is None or not (holding.payload_left or self._ownership.stale):
            return False
        record.offered_on = None  # nobody was sent it
        record.ack_by = inf
        self._kept.append(record)
        if self._works():
            self._wake()
        else:  # in the next turn: this one is about the lease
            asyncio.get_running_loop().call_soon(self.give_back)
        return True

    def give_back(self) -> None:
        """Redis is away, so nothing can be fetched or asked: end these leases; their tasks are Redis' again."""
        while self._kept:
            record = self._kept.popleft()
            if record.live:
                self._ownership.revoke(record, "Redis cannot be asked for it")
            self._owner.complete(record, record.task)

    def _of(self, record: TaskRecord) -> Holding | None:
        return self._holdings.by_task.get((record.task.tenant, record.task.task_id))

    async def complete(self) -> None:
        """Fetch what the oldest few lack, and hand them over. Raises StreamsError; they wait on then."""
        kept = list(self._kept)[:_AT_ONCE]
        if self._ownership.stale:
            await self._ownership.refresh()
        holdings = {record.lease_id: self._of(record) for record in kept}
        left = [holding for holding in holdings.values() if holding is not None and holding.payload_left]
        found = await self._run(self._gateway.peek, [holding.sources[0] for holding in left])
        fields_of = dict(zip(map(id, left), found, strict=True))
        for record in kept:
            if not self._kept or self._kept[0] is not record:
                return  # they were given back meanwhile
            self._kept.popleft()
            holding = holdings[record.lease_id]
            if holding is None and record.live:
                self._ownership.revoke(record, "another server has the task")
            task = record.task
            if holding is not None and record.live:
                task = self._completed(record, holding, fields_of.get(id(holding)))
            self._owner.complete(record, task)

    def _completed(self, record: TaskRecord, holding: Holding, fields: dict[bytes, bytes] | None) -> Task:
        """The task with its payload; its lease is ended where that is gone."""
        task = record.task
        if fields is None:
            return task
        holding.payload_left = False
        try:
            return task._replace(payload=self._wire.read(fields).task.payload)
        except EntryRefused:  # it was read before: it is gone, or is another one by now
            detail = "its entry was removed from the stream before its payload was read"
            letter = DeadLetter(DeadReason.INVALID, detail, task, task.attempt)
            self._intake.set_aside_task(holding, letter, durable=True)
            self._ownership.revoke(record, detail, comes_again=False)
            return task
