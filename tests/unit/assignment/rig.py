"""The real core on a hand-moved clock, with one short verb per event."""

from collections.abc import Callable
from typing import Any, TypeVar

from scheduler_server.assignment.core import Scheduler
from scheduler_server.assignment.effects import (
    Acked,
    CancelReply,
    Effect,
    Goodbye,
    OutcomeReply,
    ProbeSent,
    Published,
    RemoveReply,
    Reply,
    SessionRefused,
    Welcomed,
)
from scheduler_server.assignment.events import (
    Cancel,
    Connect,
    Disconnect,
    Event,
    Heartbeat,
    RemoveWorker,
    ReportOutcome,
    Submit,
    Tick,
)
from scheduler_server.assignment.settings import CoreSettings
from scheduler_server.model.clock import Now
from scheduler_server.model.decision import Decision
from scheduler_server.model.fleet_event import FleetEventKind
from scheduler_server.model.outcome import Outcome, OutcomeStatus
from scheduler_server.model.refusal import Refusal
from scheduler_server.model.task import Delivery, Task
from scheduler_server.model.worker import Epoch, Registration, Sample
from scheduler_server.predictor import Predictor
from scheduler_server.predictor.ema import EmaPredictor
from scheduler_server.registry.record import WorkerRecord
from scheduler_server.scorer import Scorer
from scheduler_server.scorer.capability import CapabilityScorer
from scheduler_server.scorer.earliest_finish import EarliestFinishScorer
from scheduler_server.scorer.specialist import SpecialistScorer
from scheduler_server.scorer.weighted import WeightedScorer

START_S = 10_000.0
"""A monotonic instant far from 0, as on a machine that has been up for hours."""

WALL_S = 1_700_000_000.0

_Effect = TypeVar("_Effect")


def scorers(settings: CoreSettings) -> dict[str, Scorer]:
    """Every scorer that the configuration can name."""
    return {
        "weighted": WeightedScorer(settings.scorer),
        "capability": CapabilityScorer(settings.scorer),
        "specialist": SpecialistScorer(settings.scorer),
        "earliest_finish": EarliestFinishScorer(),
    }


class Watch:
    """A stopwatch that shows what it is told, and goes on by `step_s` at each reading."""

    def __init__(self) -> None:
        self.reads = 0.0
        self.step_s = 0.0

    def __call__(self) -> float:
        self.reads += self.step_s
        return self.reads


class Rig:
    """A core and its clock. `out` holds the effects of the last event."""

    def __init__(
        self,
        settings: CoreSettings | None = None,
        *,
        scorer: Scorer | str = "weighted",
        predictor: Predictor | None = None,
        stopwatch: Callable[[], float] | None = None,
        start_s: float = START_S,
        incarnation: str = "i",
    ) -> None:
        self.settings = settings or CoreSettings()
        self.t = start_s
        self._start_s = start_s
        self.watch = Watch()
        self.core = Scheduler(
            self.settings,
            predictor or EmaPredictor(self.settings.predictor),
            scorers(self.settings)[scorer] if isinstance(scorer, str) else scorer,
            stopwatch or self.watch,
            incarnation,
            self.now,
        )
        self.out: list[Effect] = []
        self._sessions = 0
        self.echoes = True  # do workers send probes back?
        self.probes: dict[int, str] = {}  # nonces on their way, by session
        self._tasks = 0
        self.session_of: dict[str, int] = {}

    # ------------------------------------------------------------------ time

    @property
    def now(self) -> Now:
        return Now(self.t, WALL_S + self.t - self._start_s)

    def go(self, seconds: float) -> None:
        """Let time pass without any event."""
        self.t += seconds

    def tick_for(self, seconds: float) -> list[Effect]:
        """Let time pass and give the core every tick that it asks for, as the shell does."""
        until = self.t + seconds
        seen: list[Effect] = []
        while self.core.next_deadline() <= until:
            self.t = max(self.t, self.core.next_deadline())
            seen += self.give(Tick())
        self.t = until
        seen += self.give(Tick())
        self.out = seen
        return seen

    # ------------------------------------------------------------------ events

    def give(self, event: Event) -> list[Effect]:
        if isinstance(event, Heartbeat) and self.echoes and event.session in self.probes:
            event = event._replace(sample=event.sample._replace(probe_nonce=self.probes.pop(event.session)))
        self.out = self.core.handle(self.now, event)
        self.probes.update({effect.session: effect.nonce for effect in self.out if isinstance(effect, ProbeSent)})
        return self.out

    def connect(
        self,
        worker_id: str = "w1",
        *,
        slots: int | None = 2,
        bare: bool = False,
        epoch: tuple[str, int] | None = None,
        sample: Sample | None = None,
        registration: Registration | None = None,
        **of_registration: Any,
    ) -> Welcomed | SessionRefused:
        self._sessions += 1
        if registration is None and not bare:
            of_registration.setdefault("reports_outcomes", True)
            registration = Registration(slots=slots, **of_registration)
        event = Connect(
            self._sessions,
            worker_id,
            Epoch(*epoch) if epoch else None,
            registration,
            sample or make_sample(),
        )
        self.give(event)
        refused = self.find(SessionRefused)
        if refused:
            return refused[0]
        welcomed = self.one(Welcomed)
        self.session_of[welcomed.worker_id] = self._sessions
        return welcomed

    def beat(
        self, worker_id: str = "w1", *, registration: Registration | None = None, **of_sample: Any
    ) -> Acked | None:
        self.give(Heartbeat(self.session_of[worker_id], make_sample(**of_sample), registration))
        acked = self.find(Acked)
        return acked[0] if acked else None

    def beat_all(self) -> None:
        for worker_id in list(self.core.fleet.records):
            if self.core.fleet.records[worker_id].session is not None:
                self.beat(worker_id)

    def disconnect(self, worker_id: str = "w1") -> None:
        self.give(Disconnect(self.session_of[worker_id]))

    def submit(
        self,
        task_id: str | None = None,
        *,
        delivery: Delivery = Delivery.CALLER,
        explain: bool = False,
        **of_task: Any,
    ) -> Reply:
        self._tasks += 1
        of_task.setdefault("tenant", "")
        of_task.setdefault("attempt", 1)
        of_task.setdefault("task_type", "type")
        task = Task(task_id=task_id or f"t{self._tasks}", **of_task)
        self.give(Submit(task, delivery, explain))
        return self.one(Reply)

    def place(self, task_id: str | None = None, **more: Any) -> Decision:
        """Submit a task that is expected to be placed."""
        reply = self.submit(task_id, **more)
        assert reply.decision is not None, reply.refusal
        return reply.decision

    def refuse(self, task_id: str | None = None, **more: Any) -> Refusal:
        """Submit a task that is expected to be refused."""
        reply = self.submit(task_id, **more)
        assert reply.refusal is not None, reply
        return reply.refusal

    def end(
        self, lease_id: str, status: OutcomeStatus = OutcomeStatus.SUCCEEDED, duration_ms: float | None = 1_000.0
    ) -> OutcomeReply:
        self.give(ReportOutcome(lease_id, Outcome(status, duration_ms)))
        return self.one(OutcomeReply)

    def cancel(self, task_id: str, attempt: int = 1, lease_id: str = "") -> CancelReply:
        self.give(Cancel("", task_id, attempt, lease_id))
        return self.one(CancelReply)

    def remove(self, worker_id: str) -> RemoveReply:
        self.give(RemoveWorker(worker_id))
        return self.one(RemoveReply)

    # ------------------------------------------------------------------ what came of it

    def find(self, kind: type[_Effect]) -> list[_Effect]:
        return [effect for effect in self.out if isinstance(effect, kind)]

    def one(self, kind: type[_Effect]) -> _Effect:
        found = self.find(kind)
        assert len(found) == 1, self.out
        return found[0]

    def events(self) -> list[FleetEventKind]:
        return [effect.event.kind for effect in self.out if isinstance(effect, Published)]

    def goodbyes(self) -> list[Goodbye]:
        return self.find(Goodbye)

    def worker(self, worker_id: str = "w1") -> WorkerRecord:
        return self.core.fleet.records[worker_id]


def make_sample(**of_sample: Any) -> Sample:
    """A heartbeat's content: an idle worker where nothing else is said."""
    for name in ("cpu", "memory"):
        of_sample.setdefault(name, 0.0)
    of_sample.setdefault("queue_depth", 0)
    of_sample.setdefault("timestamp_ms", 0)
    return Sample(**of_sample)
