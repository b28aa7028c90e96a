"""From an entry to the core: it waits, is known already, finds no room, or is refused."""

from collections import Counter
from collections.abc import Callable
from enum import Enum
from typing import Any

from scheduler_server.assignment.effects import Reply
from scheduler_server.assignment.ledger import TaskRecord
from scheduler_server.assignment.repeats import same_body
from scheduler_server.dispatch import Owner, Wire, letters
from scheduler_server.dispatch.entries import DeadLetter, DeadReason, Delivered, EntryRefused, Source, raw_of
from scheduler_server.dispatch.holdings import Holding, Holdings
from scheduler_server.dispatch.outbox import Outbox, Settled
from scheduler_server.dispatch.settings import DispatchSettings
from scheduler_server.model.refusal import Reason
from scheduler_server.model.task import Delivery, Task

MOST_PARKED = 1_000
"""Entries that found no room (their tenant has its share already) and are known by their ids only. With so many, no
more are read."""

_PAYLOAD_SHARE = 0.5
"""Of queue.max_payload_bytes that entries may fill; what comes by Assign has the rest."""

_TOO_LATE = frozenset({Reason.START_BY_PASSED})
_GONE = frozenset({Reason.TASK_CANCELLED, Reason.TASK_FINISHED})


class Met(Enum):
    """What was met at the door, counted."""

    READ = "read"
    DUPLICATE = "duplicate"
    VANISHED = "vanished"
    ACKNOWLEDGED = "acknowledged"
    CLAIMED = "claimed"
    YIELDED = "yielded"


class Intake:
    """Takes entries in, one by one. For the loop's thread."""

    def __init__(
        self,
        owner: Owner,
        wire: Wire,
        holdings: Holdings,
        outbox: Outbox,
        settings: DispatchSettings,
        warn: Callable[[str], None],
    ) -> None:
        self._owner = owner
        self._core = owner.core
        self._wire = wire
        self._holdings = holdings
        self._outbox = outbox
        self._settings = settings
        self._warn = warn
        self._delivery = Delivery.CALLER if settings.hand_over == "publish" else Delivery.STREAM
        self.met: Counter[Met] = Counter()
        self.dead: Counter[DeadReason] = Counter()

    def reconfigure(self, settings: DispatchSettings) -> None:
        """Go by these from now on."""
        self._settings = settings

    def room(self) -> int:
        """Tasks that may still be read."""
        queue = self._core.queue
        if not queue.open or len(self._holdings.parked) >= MOST_PARKED:
            return 0
        return max(0, self._core.settings.queue.max_length - len(queue.waiting) - len(self._holdings.parked))

    # ------------------------------------------------------------------ one entry

    def take(self, delivered: Delivered) -> bool:
        """Take one entry in; False: there was no room for it, and it is parked."""
        source, fields, deliveries = delivered
        if source in self._holdings.known:
            return True
        self._holdings.learn(source)
        if not fields:
            self.met[Met.VANISHED] += 1
            self._warn(
                f"stream {source.stream}: entries were removed that nobody had acknowledged; their tasks are lost"
            )
            self._outbox.settle(Settled(source))
            return True
        if deliveries:  # it has not been parked meanwhile
            self.met[Met.READ] += 1
        try:
            submit = self._wire.read(fields)
        except EntryRefused as refused:
            self.set_aside(source, DeadLetter(refused.reason, refused.detail, None, 0, raw=raw_of(fields)))
            return True
        most = self._settings.max_deliveries
        if most and deliveries > most:
            detail = f"delivered {deliveries} times, more than dispatch.max_deliveries, {most}"
            self.set_aside(
                source, DeadLetter(DeadReason.DELIVERIES_EXHAUSTED, detail, submit.task, submit.task.attempt)
            )
            return True
        return self._submit(source, submit)

    def _submit(self, source: Source, submit: Any) -> bool:
        task = submit.task
        key = (task.tenant, task.task_id)
        new = key not in self._holdings.by_task
        if new and self._kept_elsewhere(task):
            self.met[Met.DUPLICATE] += 1
            self._outbox.settle(Settled(source))
            return True
        latest = self._core.task(task.tenant, task.task_id, 0)
        if new and latest is not None and self._was_left(latest, task):
            trail, ended = latest.trail, latest.task.attempt
            submit = submit._replace(trail=trail._replace(asked=trail.asked or ended))
            task, latest = task._replace(attempt=ended + 1), None
        # Held before it is submitted: it may be placed, and this heard of, before the reply comes.
        holding = self._holdings.hold(key, source)
        if new:
            # What the core knows already it compares with this one, whole.
            known = latest is not None or key in self._core.queue.waiting.by_task
            holding.payload_left = bool(task.payload) and not known and not self._room_for_payload(len(task.payload))
        # As it was when it first came: the same body must stay the same.
        asked = task._replace(payload=b"") if holding.payload_left else task
        if new:
            asked = self._wire.received(asked, source.entry_id)
        event = submit._replace(task=asked, delivery=self._delivery, enqueue=True, held=True)
        reply: Reply = self._owner.handle(event)
        if reply.refusal is not None:
            return self._refused(holding, source, task, reply)
        if holding.key not in self._holdings.by_task:
            return True  # it is over already
        if reply.waiting is not None:
            waiter = self._core.queue.waiting.by_task.get(key)
            if waiter is not None and not waiter.event.held:
                self._known(holding, source)  # the journal keeps it
            elif not new:
                self.met[Met.DUPLICATE] += 1
            return True
        if reply.replayed or reply.outcome is not None:
            record = self._core.task(task.tenant, task.task_id, 0)
            if record is not None and record.live and record.held:
                self.met[Met.DUPLICATE] += 1  # not acknowledged yet: this entry waits with the first
            else:
                self._known(holding, source)
        return True

    def _kept_elsewhere(self, task: Task) -> bool:
        """Does the journal have this task: with a lease, or waiting for its next attempt after one was lost?

        Then its entry came before the server was restarted, and Redis had not heard of its acknowledgement. What the
        journal does not have under this name is submitted, and the core says what it thinks of it.
        """
        waiter = self._core.queue.waiting.by_task.get((task.tenant, task.task_id))
        if waiter is not None:
            # One that waits for a call only is gone with it.
            kept, ours = waiter.event.task, waiter.enqueued and not waiter.event.held
        else:
            record = self._core.task(task.tenant, task.task_id, 0)
            if record is None:
                return False
            kept, ours = record.task, record.live and not record.held
        return ours and kept.attempt >= task.attempt and same_body(kept, task)

    def _was_left(self, latest: TaskRecord, task: Task) -> bool:
        """Was this task here before, and left to Redis after a lease: lost and waiting again, or taken back unsent?

        Then it goes on where it was. Its payload may have been in the stream only, so that is not compared.
        """
        return (
            latest.requeued
            and not latest.live
            and (task.tenant, task.task_id) not in self._core.queue.waiting.by_task
            and latest.task.attempt >= task.attempt
            and same_body(latest.task._replace(payload=b""), task._replace(payload=b""))
        )

    def _known(self, holding: Holding, source: Source) -> None:
        """Somebody else has the task: its worker, the journal, or nobody because it is done."""
        self._holdings.drop(holding, source)
        self.met[Met.DUPLICATE] += 1
        self._outbox.settle(Settled(source))

    def _refused(self, holding: Holding, source: Source, task: Task, reply: Reply) -> bool:
        refusal = reply.refusal
        assert refusal is not None  # noqa: S101 -- asked by the only caller
        self._holdings.drop(holding, source)
        if refusal.reason is Reason.QUEUE_FULL:
            self._holdings.parked.append(source)
            return False
        if refusal.reason in _GONE:
            self._outbox.settle(Settled(source))
            return True
        reason = DeadReason.INVALID
        if refusal.reason in _TOO_LATE:
            reason = DeadReason.EXPIRED
        elif refusal.reason is Reason.ATTEMPT_LOST:
            reason = DeadReason.ATTEMPTS_EXHAUSTED
        self.set_aside(source, DeadLetter(reason, refusal.message, task, task.attempt))
        return True

    def _room_for_payload(self, size: int) -> bool:
        most = self._core.settings.queue.max_payload_bytes * _PAYLOAD_SHARE
        return self._core.queue.waiting.payload_bytes + size <= most

    # ------------------------------------------------------------------ set aside

    def set_aside(
        self,
        source: Source | None,
        letter: DeadLetter,
        *,
        lease_id: str = "",
        durable: bool = False,
        payload_left: bool = False,
    ) -> None:
        """Let people look at it; its entry is acknowledged with that."""
        self.dead[letter.reason] += 1
        at_ms = round(self._owner.now().wall * 1_000)
        fields = letters.fields_of(letter, source, at_ms, self._wire.task, lease_id)
        self._outbox.settle(Settled(source, fields, payload_left), durable=durable)

    def set_aside_task(
        self, holding: Holding, letter: DeadLetter, *, lease_id: str = "", durable: bool = False
    ) -> None:
        """The same for a task: its first entry tells, the others are only acknowledged."""
        first, *others = self._holdings.let_go(holding)
        self.set_aside(first, letter, lease_id=lease_id, durable=durable, payload_left=holding.payload_left)
        for source in others:
            self._outbox.settle(Settled(source), durable=durable)
