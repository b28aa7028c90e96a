"""What goes into the core. Every event is complete: the core asks nobody."""

from typing import NamedTuple, TypeAlias

from scheduler_server.assignment.settings import CoreSettings
from scheduler_server.assignment.trail import NO_TRAIL, Trail
from scheduler_server.model.drain import DrainOrder
from scheduler_server.model.fleet_event import FleetEventKind
from scheduler_server.model.outcome import Outcome
from scheduler_server.model.override import Override
from scheduler_server.model.prediction import Prediction
from scheduler_server.model.standing import About, StandingOrder
from scheduler_server.model.task import Delivery, Task
from scheduler_server.model.worker import Epoch, GoodbyeReason, Registration, Sample


class Submit(NamedTuple):
    """A task is to be placed. Answered by one Reply.

    Where nobody has a free slot it waits: for `wait_s` seconds, and then a Resolved names `ticket`, a number that no
    other call has; or, with `enqueue`, until it is placed. Without either it is refused. `held`: somebody else keeps an
    enqueued task until its worker has acknowledged it, and submits it again after a restart. `trail` comes from no
    call: what the server places again has it.
    """

    task: Task
    delivery: Delivery = Delivery.CALLER
    explain: bool = False
    wait_s: float | None = None
    enqueue: bool = False
    ticket: int = 0
    held: bool = False
    trail: Trail = NO_TRAIL

    @property
    def excluded(self) -> tuple[str, ...]:
        """Workers that the task is not to be given to, or not yet again."""
        return self.task.excluded + self.trail.avoid


class Abandon(NamedTuple):
    """The call with this ticket waits no more. No answer."""

    ticket: int


class Withdraw(NamedTuple):
    """What was enqueued could not be made durable: it does not wait any more, as if it had never come. No answer."""

    tenant: str
    task_id: str
    attempt: int


class CloseQueue(NamedTuple):
    """The server is going down: what waits stays where it is. No answer."""


class Cancel(NamedTuple):
    """A task is to be cancelled; `attempt` 0 means 1, an empty `lease_id` means whatever it is. One CancelReply.

    `unsent`: nothing of it was sent to its worker, which has nothing to stop.
    """

    tenant: str
    task_id: str
    attempt: int
    lease_id: str = ""
    reason: str = ""
    unsent: bool = False


class ReportOutcome(NamedTuple):
    """The queue service says how a task ended. Answered by one OutcomeReply."""

    lease_id: str
    outcome: Outcome


class Connect(NamedTuple):
    """A stream's first heartbeat. `session` is the shell's number for the stream, never used twice.

    `worker_id` is empty where the server is to make one. Answered by a Welcome or a SessionRefused.
    """

    session: int
    worker_id: str
    epoch: Epoch | None
    registration: Registration | None
    sample: Sample


class Heartbeat(NamedTuple):
    """A later heartbeat of a session. `registration` is None where nothing of it changed."""

    session: int
    sample: Sample
    registration: Registration | None = None


class Reinstate(NamedTuple):
    """An operator lets an ejected worker in at once. Answered by one OrderReply."""

    worker_id: str
    reason: str = ""


class Disconnect(NamedTuple):
    """A stream ended, for whatever reason."""

    session: int


class RemoveWorker(NamedTuple):
    """An operator removes a worker. Answered by one RemoveReply."""

    worker_id: str
    reason: str = ""


class Publish(NamedTuple):
    """Predictions by task type, made elsewhere, become current."""

    entries: tuple[tuple[str, Prediction], ...]


class Shutdown(NamedTuple):
    """The server is going down: say goodbye to every worker."""

    reason: GoodbyeReason = GoodbyeReason.SERVER_SHUTDOWN


class Slept(NamedTuple):
    """The server itself was away for a while: for some time nobody is lost, or removed, for not having been heard."""


class Configured(NamedTuple):
    """Other settings hold from now on, as this revision of the policy; it is above the one before. No answer."""

    settings: CoreSettings
    revision: int


class Ordered(NamedTuple):
    """An operator's order stands from now on, or none about this any more. Answered by one OrderReply."""

    about: About
    order: StandingOrder | None = None


class ResetBreaker(NamedTuple):
    """An operator closes a circuit, tripped or not; `all_types`: those of all types too.

    Answered by one OrderReply: how many were not closed.
    """

    task_type: str = ""
    all_types: bool = False


class Reprioritize(NamedTuple):
    """A waiting task is to have another priority, 0-1. Answered by one PriorityReply."""

    tenant: str
    task_id: str
    attempt: int
    priority: float
    reason: str = ""


class Rebalance(NamedTuple):
    """Waiting tasks, by tenant and id, are to be placed, and staged leases asked back that start sooner elsewhere.

    A few at a time. Answered by one Rebalanced.
    """

    tasks: tuple[tuple[str, str], ...] = ()
    leases: tuple[str, ...] = ()


class Forget(NamedTuple):
    """The predictor is to forget a task type, or one key of it, or with neither all. Answered by one ForgetReply."""

    task_type: str = ""
    key: str = ""
    reason: str = ""


class CreateOverride(NamedTuple):
    """An override applies from now on, as this revision of the policy or a later one. No answer."""

    override: Override
    revision: int


class EndOverride(NamedTuple):
    """An override applies no more, likewise; `why`, for people. No answer."""

    override_id: str
    revision: int
    why: str = ""


class DrainOrdered(NamedTuple):
    """A drain begins; one of that id that was cancelled goes on. No answer: its state is there when this is handled."""

    order: DrainOrder


class DrainEnded(NamedTuple):
    """A drain is called off; `forget`: as if it had never been. No answer."""

    drain_id: str
    forget: bool = False


class Announce(NamedTuple):
    """Something that the core did not find out itself is to be told as an event; fields as in FleetEvent."""

    kind: FleetEventKind
    worker_id: str = ""
    detail: str = ""
    before: str = ""
    after: str = ""
    subject: str = ""
    severity: int = 0


class Tick(NamedTuple):
    """Nothing but the time."""


class Look(NamedTuple):
    """A question is to be answered as of now: nothing but the time, and every worker's age brought up to it."""


Event: TypeAlias = (
    Submit
    | Abandon
    | Withdraw
    | CloseQueue
    | Cancel
    | ReportOutcome
    | Connect
    | Heartbeat
    | Disconnect
    | RemoveWorker
    | Reinstate
    | Publish
    | Shutdown
    | Slept
    | Configured
    | CreateOverride
    | EndOverride
    | DrainOrdered
    | DrainEnded
    | Ordered
    | ResetBreaker
    | Reprioritize
    | Rebalance
    | Forget
    | Announce
    | Tick
    | Look
)
