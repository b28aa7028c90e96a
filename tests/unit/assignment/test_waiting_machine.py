"""Any sequence of events, each followed by a look at everything: see waiting_rig.py for what must hold."""

from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from scheduler_server.assignment.effects import OutcomeReply
from scheduler_server.assignment.events import Abandon, Cancel, Heartbeat, Ordered, Reprioritize, Submit, Tick
from scheduler_server.assignment.queue_settings import QueueSettings
from scheduler_server.assignment.settings import CoreSettings
from scheduler_server.model.outcome import OutcomeStatus
from scheduler_server.model.standing import About, OrderKind, StandingOrder
from scheduler_server.model.task import Delivery, Task
from scheduler_server.model.worker import Intent, Registration
from tests.unit.assignment.rig import make_sample
from tests.unit.assignment.waiting_rig import WaitingRig

CAPABILITIES = ("cpu", "gpu")
WORKERS = ("w1", "w2", "w3")

subsets = st.lists(st.sampled_from(CAPABILITIES), max_size=2, unique=True).map(lambda names: tuple(sorted(names)))
zones = st.sampled_from(["", "", "a", "b"])
types = st.sampled_from(["short", "long", "new"])


class Machine(RuleBasedStateMachine):
    order = "fifo"
    slice: int | None = None  # tasks looked at per tick when the rules change, with other events in between

    def __init__(self) -> None:
        super().__init__()
        queue = QueueSettings(order=self.order, priority_worth_s=20.0)
        self.rig = WaitingRig(CoreSettings(queue=queue))
        if self.slice is not None:
            self.rig.hurried, self.rig.core.queue.renewing.slice = False, self.slice
        self.number = 0

    # ------------------------------------------------------------------ workers

    @rule(worker=st.sampled_from(WORKERS), slots=st.integers(1, 3), capabilities=subsets, zone=zones,
          accepts=st.booleans(), reports=st.booleans(), load=st.sampled_from([0.1, 0.95]))  # fmt: skip
    def connect(self, worker: str, slots: int, capabilities: tuple[str, ...], zone: str, accepts: bool,
                reports: bool, load: float) -> None:  # fmt: skip
        registration = Registration(
            slots=slots, capabilities=capabilities, labels=(("zone", zone),) if zone else (),
            accepts_tasks=accepts, reports_outcomes=reports,
        )  # fmt: skip
        known = self.rig.core.fleet.records.get(worker)
        sample = make_sample(cpu=load, memory=load, queue_depth=len(known.leases) if known else 0)
        self.rig.connect(worker, registration=registration, sample=sample)

    def _live(self) -> list[str]:
        records = self.rig.core.fleet.records
        return [name for name, session in self.rig.session_of.items() if name in records and records[name].session]

    @precondition(lambda self: self._live())
    @rule(data=st.data(), depth=st.integers(0, 2), draining=st.booleans(), load=st.sampled_from([0.1, 0.95]))
    def beat(self, data: Any, depth: int, draining: bool, load: float) -> None:
        worker = data.draw(st.sampled_from(self._live()))
        held = len(self.rig.core.fleet.records[worker].leases)
        intent = Intent.DRAIN if draining else Intent.WORK
        self.rig.beat(worker, queue_depth=max(0, held + depth - 1), cpu=load, memory=load, intent=intent)

    @precondition(lambda self: self._live())
    @rule(data=st.data(), slots=st.integers(1, 3), capabilities=subsets, zone=zones)
    def change(self, data: Any, slots: int, capabilities: tuple[str, ...], zone: str) -> None:
        worker = data.draw(st.sampled_from(self._live()))
        record = self.rig.core.fleet.records[worker]
        labels = (("zone", zone),) if zone else ()
        registration = replace_registration(record.registration, slots, capabilities, labels)
        sample = make_sample(queue_depth=len(record.leases))
        self.rig.give(Heartbeat(self.rig.session_of[worker], sample, registration))

    @precondition(lambda self: self._live())
    @rule(data=st.data())
    def disconnect(self, data: Any) -> None:
        self.rig.disconnect(data.draw(st.sampled_from(self._live())))

    @precondition(lambda self: self.rig.core.fleet.records)
    @rule(data=st.data())
    def remove(self, data: Any) -> None:
        self.rig.remove(data.draw(st.sampled_from(sorted(self.rig.core.fleet.records))))

    # ------------------------------------------------------------------ tasks

    @rule(required=subsets, excluded=st.lists(st.sampled_from(WORKERS), max_size=2, unique=True), zone=zones,
          kind=types, priority=st.sampled_from([0.0, 0.5, 1.0]), stream=st.booleans(),
          wait=st.sampled_from([None, 0.0, 5.0, 100.0]), enqueue=st.booleans(),
          not_before=st.sampled_from([None, None, -1.0, 3.0]), start_by=st.sampled_from([None, None, 0.0, 8.0]),
          times=st.sampled_from([1, 1, 4]))  # fmt: skip
    def submit(self, required: tuple[str, ...], excluded: list[str], zone: str, kind: str, priority: float,
               stream: bool, wait: float | None, enqueue: bool, not_before: float | None, start_by: float | None,
               times: int) -> None:  # fmt: skip
        wall = self.rig.now.wall
        for _ in range(times):
            self.number += 1
            task = Task(
                "", f"t{self.number}", 1, kind, priority=priority, required=required, excluded=tuple(sorted(excluded)),
                labels=(("zone", zone),) if zone else (), payload=b"x" * (self.number % 3),
                not_before=None if not_before is None else wall + not_before,
                start_by=None if start_by is None else wall + start_by,
            )  # fmt: skip
            self._submit(task, stream, wait, enqueue)

    def _submit(self, task: Task, stream: bool, wait: float | None, enqueue: bool) -> None:
        self.rig.last_ticket += 1
        delivery = Delivery.STREAM if stream else Delivery.CALLER
        self.rig.give(Submit(task, delivery, False, wait, enqueue, self.rig.last_ticket))

    @precondition(lambda self: self.rig.waits)
    @rule(data=st.data(), wait=st.sampled_from([None, 5.0]), enqueue=st.booleans())
    def submit_again(self, data: Any, wait: float | None, enqueue: bool) -> None:
        waits = self.rig.waits[data.draw(st.sampled_from(sorted(self.rig.waits)))]
        self._submit(waits.task, waits.stream, wait, enqueue)

    @precondition(lambda self: any(waits.tickets for waits in self.rig.waits.values()))
    @rule(data=st.data())
    def abandon(self, data: Any) -> None:
        tickets = sorted(ticket for waits in self.rig.waits.values() for ticket in waits.tickets)
        self.rig.give(Abandon(data.draw(st.sampled_from(tickets))))

    @precondition(lambda self: self.rig.waits)
    @rule(data=st.data())
    def cancel(self, data: Any) -> None:
        self.rig.give(Cancel("", data.draw(st.sampled_from(sorted(self.rig.waits))), 1))

    def _leases(self) -> list[str]:
        return [record.lease_id for record in self.rig.core.ledger.leases.values() if record.live]

    @precondition(lambda self: self._leases())
    @rule(data=st.data(), ms=st.sampled_from([100.0, 60_000.0]))
    def outcome(self, data: Any, ms: float) -> None:
        lease = data.draw(st.sampled_from(self._leases()))
        self.rig.end(lease, OutcomeStatus.SUCCEEDED, ms)
        self.rig.one(OutcomeReply)

    # ------------------------------------------------------------------ the rest

    @rule(seconds=st.sampled_from([0.5, 2.0, 6.0]))
    def time_passes(self, seconds: float) -> None:
        self.rig.tick_for(seconds)

    @rule()
    def a_long_silence(self) -> None:
        self.rig.tick_for(40.0)

    @rule(order=st.sampled_from(["fifo", "priority", "shortest", "fair"]), back=st.booleans())
    def reorder(self, order: str, back: bool) -> None:
        settings = replace(self.rig.settings.queue, order=order)
        core = self.rig.core
        core.queue.reconfigure(self.rig.now, settings, "balanced", core.predictor)
        self.rig.give(Tick())
        if back:
            core.queue.reconfigure(self.rig.now, self.rig.settings.queue, "balanced", core.predictor)
            self.rig.give(Tick())

    @rule(fails=st.booleans())
    def predictor(self, fails: bool) -> None:
        core = self.rig.core
        core.predictor.fails = fails  # type: ignore[attr-defined]

    @rule(kind=st.sampled_from(["", "short", "long"]), tenant=st.sampled_from([None, None, "", "x"]),
          seconds=st.sampled_from([None, None, 3.25]))  # fmt: skip
    def pause(self, kind: str, tenant: str | None, seconds: float | None) -> None:
        self.rig.pause(kind, tenant, seconds)

    @precondition(lambda self: self.rig.paused)
    @rule(data=st.data())
    def resume(self, data: Any) -> None:
        self.rig.resume(data.draw(st.sampled_from(sorted(self.rig.paused, key=repr))))

    @precondition(lambda self: self.rig.waits)
    @rule(data=st.data(), priority=st.sampled_from([0.0, 0.5, 1.0]))
    def reprioritize(self, data: Any, priority: float) -> None:
        waits = self.rig.waits[data.draw(st.sampled_from(sorted(self.rig.waits)))]
        waits.task = waits.task._replace(priority=priority)
        task = waits.task
        attempt = self.rig.core.queue.waiting.by_task[task.tenant, task.task_id].event.task.attempt
        self.rig.give(Reprioritize(task.tenant, task.task_id, attempt, priority))

    @precondition(lambda self: self.rig.core.fleet.records)
    @rule(data=st.data(), on=st.booleans())
    def cordon(self, data: Any, on: bool) -> None:
        about = About(OrderKind.CORDON, data.draw(st.sampled_from(WORKERS)))
        self.rig.give(Ordered(about, StandingOrder(self.rig.now.wall) if on else None))

    @rule()
    def restart(self) -> None:
        self.rig = self.rig.restarted()

    def teardown(self) -> None:
        self.rig.hurried = True
        self.rig.give(Tick())


def replace_registration(
    registration: Registration, slots: int, capabilities: tuple[str, ...], labels: tuple[tuple[str, str], ...]
) -> Registration:
    return registration._replace(slots=slots, capabilities=capabilities, labels=labels)


class Fifo(Machine):
    order = "fifo"


class Priority(Machine):
    order = "priority"


class Shortest(Machine):
    order = "shortest"


class Fair(Machine):
    order = "fair"


class InSlices(Machine):
    """With whatever happens in the midst of a change: other changes, restarts."""

    order = "shortest"
    slice = 1

    @rule(times=st.integers(1, 5))
    def the_loop_turns(self, times: int) -> None:
        for _ in range(times):
            self.rig.give(Tick())

    @rule()
    def all_is_settled(self) -> None:
        self.rig.hurried = True
        self.rig.give(Tick())
        self.rig.hurried = False


class FairInSlices(InSlices):
    order = "fair"
    slice = 2


_effort = settings(
    max_examples=100, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
for _machine in (Fifo, Priority, Shortest, Fair, InSlices, FairInSlices):
    _machine.TestCase.settings = _effort
TestFifo, TestPriority, TestShortest, TestFair = Fifo.TestCase, Priority.TestCase, Shortest.TestCase, Fair.TestCase
TestInSlices, TestFairInSlices = InSlices.TestCase, FairInSlices.TestCase
