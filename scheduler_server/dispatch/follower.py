"""From the core's changes to what Redis is to be told: see `Changes` in rpc/shell.py, which this is one of."""

from collections import deque
from collections.abc import Callable

from scheduler_server.assignment.ledger import TaskRecord
from scheduler_server.assignment.queueing import Unplaced
from scheduler_server.assignment.trail import NO_TRAIL
from scheduler_server.assignment.waiting import Waiter
from scheduler_server.dispatch import feeds, letters
from scheduler_server.dispatch.channel import Channel
from scheduler_server.dispatch.entries import DeadLetter, DeadReason
from scheduler_server.dispatch.holdings import Holding, Holdings, Key
from scheduler_server.dispatch.intake import Intake, Met
from scheduler_server.dispatch.outbox import Outbox, Settled
from scheduler_server.dispatch.settings import DispatchSettings
from scheduler_server.model.task import Delivery, TaskState

_ENDED_WELL = frozenset({TaskState.FINISHED, TaskState.CANCELLED})


class Follower:
    """Hears of every change of every task, in its turn. `channel` is there where hand-over is by PUBLISH."""

    def __init__(
        self,
        intake: Intake,
        holdings: Holdings,
        outbox: Outbox,
        settings: DispatchSettings,
        *,
        channel: Channel | None,
    ) -> None:
        self._intake = intake
        self._holdings = holdings
        self._outbox = outbox
        self._decisions, self._outcomes = settings.decisions, settings.outcomes
        self._channel = channel
        self._again: set[Key] = set()  # tasks to be handed over that wait, and that the journal keeps
        self._changes = 0
        self._held: deque[int] = deque()  # changes that are not to be told yet, nor what comes after them
        self._untold: deque[tuple[int, Callable[[], None]]] = deque()

    # ------------------------------------------------------------------ leases

    def of_lease(self, record: TaskRecord) -> None:
        """It was granted, or is over."""
        self._changes += 1
        task = record.task
        holding = self._holdings.by_task.get((task.tenant, task.task_id))
        if record.live:
            self._again.discard((task.tenant, task.task_id))
            if self._decisions:
                made = record.decision
                self._tell(lambda: self._outbox.publish(self._decisions, feeds.decision(made)))
            if self._channel is not None and holding is not None and record.delivery is Delivery.CALLER:
                publish = self._channel.publish
                self._channel.expect(record)
                self._tell(lambda: publish(record, holding))
            return
        if self._outcomes:
            told = feeds.outcome(record)
            self._tell(lambda: self._outbox.publish(self._outcomes, told))
        if not record.requeued:
            self._over(record, holding)

    def _over(self, record: TaskRecord, holding: Holding | None) -> None:
        by_channel = self._channel if record.delivery is Delivery.CALLER else None
        sent = by_channel is not None and by_channel.sent(record)
        if by_channel is not None and holding is not None and by_channel.ended_unheard(record):
            by_channel.lost_unheard(record, holding)
            return
        if record.state in _ENDED_WELL:
            if holding is not None and not holding.withdrawn:
                self._done(holding, durable=True)
            elif holding is None:
                self._outbox.over(record.task)
            return
        if by_channel is not None and sent and by_channel.places_again(record):
            self._outbox.over(record.task)
            return
        if record.delivery is not Delivery.STREAM and not sent and holding is None:
            return  # who delivers it is told of its loss, and decides what follows
        letter = letters.of_record(record)
        if holding is not None:
            self._intake.set_aside_task(holding, letter, lease_id=record.lease_id, durable=True)
        else:
            self._outbox.over(record.task)
            self._intake.set_aside(None, letter, lease_id=record.lease_id, durable=True)

    def of_moved(self, record: TaskRecord, state: TaskState) -> None:
        """Its worker has it: from here on the journal keeps it."""
        self._changes += 1
        task = record.task
        holding = self._holdings.by_task.get((task.tenant, task.task_id))
        if holding is not None:
            self._done(holding)

    def _done(self, holding: Holding, *, durable: bool = False) -> None:
        self._intake.met[Met.ACKNOWLEDGED] += 1
        for source in self._holdings.let_go(holding):
            self._outbox.settle(Settled(source, None, False, holding.key), durable=durable)

    # ------------------------------------------------------------------ tasks that wait

    def of_waiting(self, waiter: Waiter) -> None:
        """It waits from now on: perhaps again, after a lease that was lost."""
        self._changes += 1
        task = waiter.event.task
        handed_over = waiter.event.delivery is Delivery.STREAM or waiter.event.trail is not NO_TRAIL
        if handed_over and (task.tenant, task.task_id) not in self._holdings.by_task:
            self._again.add((task.tenant, task.task_id))

    def of_unplaced(self, ended: Unplaced) -> None:
        """It ended without having been placed."""
        self._changes += 1
        task = ended.task
        holding = self._holdings.by_task.get((task.tenant, task.task_id))
        if self._outcomes and (holding is None or not holding.withdrawn):
            told = feeds.unplaced(ended)
            self._tell(lambda: self._outbox.publish(self._outcomes, told))
        waited = (task.tenant, task.task_id) in self._again
        self._again.discard((task.tenant, task.task_id))
        if holding is not None and holding.withdrawn:
            return
        if ended.state is TaskState.EXPIRED:
            detail = f"it was to start by {task.start_by or 0.0:.3f} and was not placed by then"
            letter = DeadLetter(DeadReason.EXPIRED, detail, task, task.attempt)
            if holding is not None:
                self._intake.set_aside_task(holding, letter)
            elif waited:
                self._intake.set_aside(None, letter, durable=True)
        elif holding is not None:
            self._done(holding, durable=True)

    # ------------------------------------------------------------------ what may be told

    def hold(self) -> None:
        """The next change, and all after it, are to be told when `release` has been called once for it."""
        self._held.append(self._changes + 1)

    def release(self) -> None:
        """The oldest that is held may be told."""
        self._held.popleft()
        untold = self._untold
        until = self._held[0] if self._held else self._changes + 1
        while untold and untold[0][0] < until:
            untold.popleft()[1]()

    def _tell(self, what: Callable[[], None]) -> None:
        if self._held and self._changes >= self._held[0]:
            self._untold.append((self._changes, what))
        else:
            what()
