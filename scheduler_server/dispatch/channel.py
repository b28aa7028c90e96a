"""Hand-over by PUBLISH on a channel of the worker's own, as the specification has it.

Nothing keeps what is published: a worker that does not listen at that moment never gets it. Redis says how many listen;
with none the lease is given back at once and the task is placed again, elsewhere. With one the entry is acknowledged,
whatever becomes of the message.
"""

from collections import deque
from collections.abc import Callable

from scheduler_server.assignment.effects import Reply
from scheduler_server.assignment.events import Cancel, Submit
from scheduler_server.assignment.ledger import TaskRecord
from scheduler_server.dispatch import Owner, Wire
from scheduler_server.dispatch.entries import DeadLetter, DeadReason
from scheduler_server.dispatch.gateway import Answer, Order
from scheduler_server.dispatch.holdings import Holding, Holdings
from scheduler_server.dispatch.intake import Intake, Met
from scheduler_server.dispatch.outbox import Outbox, Settled
from scheduler_server.model.task import Delivery, LossPolicy, TaskState

_WORKER_LOST = "its worker was lost"


class Channel:
    """For the loop's thread, but for `orders`."""

    def __init__(
        self,
        owner: Owner,
        wire: Wire,
        prefix: str,
        intake: Intake,
        holdings: Holdings,
        outbox: Outbox,
        wake: Callable[[], None],
    ) -> None:
        self._owner = owner
        self._wire = wire
        self._prefix = prefix
        self._intake = intake
        self._holdings = holdings
        self._outbox = outbox
        self._wake = wake
        self.waiting: deque[tuple[TaskRecord, Holding]] = deque()
        self._lost: deque[tuple[TaskRecord, Holding | None]] = deque()
        self._coming: set[str] = set()  # leases that are to be published, until Redis has answered
        self._sent: set[str] = set()  # leases that somebody heard of, until they end
        self.unheard = 0

    def expect(self, record: TaskRecord) -> None:
        """`publish` comes for this lease, whatever becomes of it meanwhile."""
        self._coming.add(record.lease_id)

    def publish(self, record: TaskRecord, holding: Holding) -> None:
        """This lease is on disk: its worker is to hear of it."""
        self.waiting.append((record, holding))
        self._wake()

    def order(self, record: TaskRecord) -> Order:
        """The command."""
        return ("PUBLISH", self._prefix + record.worker_id, self._wire.message(record))

    def told(self, record: TaskRecord, holding: Holding, answer: Answer) -> None:
        """What Redis answered: how many listened, or an error, which is as good as nobody."""
        self._coming.discard(record.lease_id)
        if not record.live:
            if self.ended_unheard(record) and self._holdings.by_task.get(holding.key) is holding:
                self._lost_meanwhile(record, holding, heard=bool(answer.value))
            return
        if answer.value:
            self._sent.add(record.lease_id)
            self._let_go(holding)
            return
        self.unheard += 1
        task = record.task
        holding.withdrawn = True  # its entries stay
        why = f"nobody listens to {self._prefix}{record.worker_id}"
        self._owner.handle(Cancel(task.tenant, task.task_id, task.attempt, record.lease_id, why, unsent=True))
        holding.withdrawn = False
        self._again(record, holding, why)

    def _let_go(self, holding: Holding) -> None:
        self._intake.met[Met.ACKNOWLEDGED] += 1
        for source in self._holdings.let_go(holding):
            self._outbox.settle(Settled(source, None, False, holding.key))

    # ------------------------------------------------------------------ lost

    @staticmethod
    def ended_unheard(record: TaskRecord) -> bool:
        """Is this no end of a task of which nobody had heard: its worker was lost, or is only taken to be done?"""
        return record.state is TaskState.LOST or (record.state is TaskState.FINISHED and record.outcome is None)

    def lost_unheard(self, record: TaskRecord, holding: Holding) -> None:
        """It ended like that before Redis said that anybody had heard of it: place it again, when that is known."""
        if record.lease_id not in self._coming:
            self._lost.append((record, holding))
            self._wake()

    def _lost_meanwhile(self, record: TaskRecord, holding: Holding, *, heard: bool) -> None:
        if heard and record.state is TaskState.FINISHED:
            self._let_go(holding)
        elif heard and record.task.loss_policy is not LossPolicy.REQUEUE:
            self._set_aside(record, holding, f"{_WORKER_LOST}, and its loss policy is to report that")
        else:
            why = _WORKER_LOST if record.state is TaskState.LOST else "nobody had heard of it in time"
            self._again(record, holding, why)

    def sent(self, record: TaskRecord) -> bool:
        """Has somebody heard of this lease, which is over now?"""
        if record.lease_id not in self._sent:
            return False
        self._sent.discard(record.lease_id)
        return True

    def places_again(self, record: TaskRecord) -> bool:
        """Is this loss to be followed by another attempt? Only what may run twice, says its policy."""
        if record.state is not TaskState.LOST or record.task.loss_policy is not LossPolicy.REQUEUE:
            return False
        self._lost.append((record, None))
        self._wake()
        return True

    def place_lost(self) -> None:
        """Place again what was lost and may be."""
        while self._lost:
            record, holding = self._lost.popleft()
            if holding is None or self._holdings.by_task.get(holding.key) is holding:
                self._again(record, holding, _WORKER_LOST)

    def _again(self, record: TaskRecord, holding: Holding | None, why: str) -> None:
        """Place it again as its next attempt, elsewhere for a while; or set it aside, when it has had its attempts."""
        task, before = record.task, record.trail
        until = self._owner.now().wall + self._owner.core.settings.assignment.avoid_decliner_s
        asked = before.asked or task.attempt
        trail = before.avoiding(record.worker_id, until)._replace(losses=before.losses + 1, asked=asked)
        if trail.losses >= task.max_attempts:
            self._set_aside(record, holding, f"{why}; it was handed over {trail.losses} times")
            return
        event = Submit(
            task._replace(attempt=task.attempt + 1),
            Delivery.CALLER,
            enqueue=True,
            held=holding is not None,
            trail=trail,
        )
        reply: Reply = self._owner.handle(event)
        if reply.refusal is not None:
            self._set_aside(record, holding, reply.refusal.message)
        else:
            record.requeued, record.trail = True, trail

    def _set_aside(self, record: TaskRecord, holding: Holding | None, detail: str) -> None:
        task = record.task
        letter = DeadLetter(DeadReason.ATTEMPTS_EXHAUSTED, detail, task, task.attempt, (record.worker_id,))
        if holding is not None:
            self._intake.set_aside_task(holding, letter)
        else:
            self._intake.set_aside(None, letter, lease_id=record.lease_id, durable=True)
