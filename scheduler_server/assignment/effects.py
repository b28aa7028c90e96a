"""What comes out of the core, in order. The shell turns effects into messages and writes; the core never does."""

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from scheduler_server.assignment.drain_record import KeptDrain, KeptLine
from scheduler_server.model.decision import Decision
from scheduler_server.model.fleet_event import FleetEvent
from scheduler_server.model.outcome import Outcome, OutcomeResult
from scheduler_server.model.refusal import Refusal
from scheduler_server.model.standing import About, StandingOrder
from scheduler_server.model.task import Prospects, Task, TaskState
from scheduler_server.model.worker import GoodbyeReason, VerdictKind

if TYPE_CHECKING:
    from scheduler_server.assignment.ledger import TaskRecord
    from scheduler_server.assignment.queueing import Unplaced
    from scheduler_server.assignment.staged import Move
    from scheduler_server.assignment.waiting import Waiter


class Reply(NamedTuple):
    """The answer to a Submit: where the task stands, or a refusal."""

    state: TaskState | None
    decision: Decision | None
    outcome: Outcome | None
    replayed: bool
    refusal: Refusal | None = None
    waiting: Prospects | None = None


class Resolved(NamedTuple):
    """The answer to a Submit that waited, for the call with this ticket."""

    ticket: int
    reply: Reply


class Queued(NamedTuple):
    """A task waits until it is placed, whoever goes away: to be journaled before anybody is told."""

    waiter: "Waiter"


class Unqueued(NamedTuple):
    """Such a task waits no more: to be taken out of the journal. `ended`: it was not placed.

    Otherwise the Granted of its lease comes next: one promise takes the place of the other.
    """

    waiter: "Waiter"
    ended: "Unplaced | None" = None


class Moved(NamedTuple):
    """A lease was acknowledged or started: `state`. Its record may be further by the time that this is read."""

    record: "TaskRecord"
    state: TaskState


class CancelReply(NamedTuple):
    """The answer to a Cancel."""

    state: TaskState | None
    worker_told: bool
    refusal: Refusal | None = None


class OutcomeReply(NamedTuple):
    """The answer to a ReportOutcome."""

    result: OutcomeResult
    refusal: Refusal | None = None


class RemoveReply(NamedTuple):
    """The answer to a RemoveWorker: how many leases were lost with it."""

    leases_lost: int
    refusal: Refusal | None = None


class OrderReply(NamedTuple):
    """The answer to an Ordered: 0; or to a ResetBreaker: how many circuits were not closed."""

    circuits: int


class Rebalanced(NamedTuple):
    """The answer to a Rebalance: the leases that began, and the moves that were asked for."""

    placed: "tuple[TaskRecord, ...]"
    moves: "tuple[Move, ...]"


class PriorityReply(NamedTuple):
    """The answer to a Reprioritize: its position before; None where no such attempt waits."""

    previous_position: int | None


class ForgetReply(NamedTuple):
    """The answer to a Forget: how many keys that were; None where the predictor cannot."""

    keys: int | None


class Stands(NamedTuple):
    """An operator's order stands, or none about this any more: to be journaled."""

    about: About
    order: StandingOrder | None


class DrainStands(NamedTuple):
    """A drain is so from now on, over ones included: to be journaled."""

    kept: KeptDrain


class DrainMoved(NamedTuple):
    """A drain is further with one worker, or as a whole (""): to be told. `kept`: to be journaled."""

    drain_id: str
    worker_id: str
    kept: KeptLine | None = None


class DrainLeft(NamedTuple):
    """A drain covers a worker no more: to be told, and taken out of the journal."""

    drain_id: str
    worker_id: str


class DrainForgotten(NamedTuple):
    """A drain that covers nobody is forgotten: to be taken out of the journal."""

    drain_id: str


class DrainSent(NamedTuple):
    """Tell a session of a drain; without an id, that none holds any more. `deadline` in wall seconds."""

    session: int
    drain_id: str
    deadline: float | None
    reason: str


class Granted(NamedTuple):
    """A lease began: to be journaled."""

    record: "TaskRecord"


class Ended(NamedTuple):
    """A lease ended: to be taken out of the journal."""

    record: "TaskRecord"


class ToldLate(NamedTuple):
    """How a lease ended was told when it had ended already: to be recorded, nothing else changes."""

    record: "TaskRecord"


class Welcomed(NamedTuple):
    """Send a welcome on a session."""

    session: int
    worker_id: str
    boot_id: str
    connection: int
    heartbeat_interval_s: float
    verdicts: tuple[tuple[str, VerdictKind], ...]


class Acked(NamedTuple):
    """Send an ack on a session. `heartbeat_interval_s` is None where it has not changed."""

    session: int
    sequence: int
    timestamp_ms: int
    heartbeat_interval_s: float | None = None
    verdicts: tuple[tuple[str, VerdictKind], ...] = ()
    refused: tuple[tuple[str, Refusal], ...] = ()


class HandOver(NamedTuple):
    """Send a task on a session."""

    session: int
    task: Task
    decision: Decision
    ack_within_s: float


class Recall(NamedTuple):
    """Tell a session to stop a lease."""

    session: int
    lease_id: str
    reason: str


class AskBack(NamedTuple):
    """Ask a session to hand a lease back, unless it has started."""

    session: int
    lease_id: str
    reason: str


class ProbeSent(NamedTuple):
    """Send a nonce on a session, the way that tasks go."""

    session: int
    nonce: str


class Goodbye(NamedTuple):
    """Say goodbye on a session and end its stream. `reconnect_after_s` is None where it is not to come back."""

    session: int
    reason: GoodbyeReason
    message: str
    reconnect_after_s: float | None


class SessionRefused(NamedTuple):
    """End a session's stream with an error instead of a welcome."""

    session: int
    refusal: Refusal


class Published(NamedTuple):
    """Something that operators watch has changed."""

    event: FleetEvent


Effect: TypeAlias = (
    Reply
    | Resolved
    | Queued
    | Unqueued
    | Moved
    | CancelReply
    | OutcomeReply
    | RemoveReply
    | OrderReply
    | Rebalanced
    | PriorityReply
    | ForgetReply
    | Stands
    | DrainStands
    | DrainMoved
    | DrainLeft
    | DrainForgotten
    | DrainSent
    | Granted
    | Ended
    | ToldLate
    | Welcomed
    | Acked
    | HandOver
    | Recall
    | AskBack
    | ProbeSent
    | Goodbye
    | SessionRefused
    | Published
)
