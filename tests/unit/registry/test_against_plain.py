"""The real core against the plain fleet, event by event, under every scorer."""

from math import inf
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from scheduler_server.assignment.effects import Ended, Granted, Published
from scheduler_server.assignment.events import Heartbeat
from scheduler_server.assignment.settings import CoreSettings
from scheduler_server.model.decision import Rejection
from scheduler_server.model.fleet_event import FleetEventKind
from scheduler_server.model.outcome import OutcomeResult, OutcomeStatus
from scheduler_server.model.refusal import Reason
from scheduler_server.model.task import Delivery, TaskState
from scheduler_server.model.worker import Accounting, Health, Intent, Registration, RunningLease
from scheduler_server.registry.admission_settings import EjectionSettings, RampSettings
from scheduler_server.registry.pool import BLOCK, Pool
from tests.unit.assignment.rig import Rig, make_sample
from tests.unit.registry.plain_fleet import PlainFleet, PlainTask, PlainWorker, rank

CAPABILITIES = ("cpu", "gpu", "net")
CATEGORIES = ("", "bug", "feature")

ids = st.sampled_from([f"w{number}" for number in range(8)])
subsets = st.lists(st.sampled_from(CAPABILITIES), max_size=2, unique=True).map(lambda names: tuple(sorted(names)))
zones = st.sampled_from(["", "a", "b"])
shares = st.sampled_from([0.0, 0.25, 0.5, 0.84, 0.85, 0.899999, 0.9, 1.0])


class FleetMachine(RuleBasedStateMachine):
    """Random events to both; what they say must agree after each."""

    scorer = "weighted"

    @initialize()
    def begin(self) -> None:
        # The plain fleet knows neither: they have tests of their own.
        settings = CoreSettings(ramp=RampSettings(over_s=0.0), ejection=EjectionSettings(enabled=False))
        self.rig = Rig(settings, scorer=self.scorer)
        self.plain = PlainFleet()
        self.begun: dict[str, str] = {}  # lease to worker
        self.over: set[str] = set()
        self.tasks: dict[str, str] = {}  # live leases to tasks

    # ------------------------------------------------------------------ events

    @rule(worker_id=ids, capabilities=subsets, category=st.sampled_from(CATEGORIES), zone=zones,
          slots=st.integers(1, 4), accepts=st.booleans(), cpu=shares)  # fmt: skip
    def connect(
        self,
        worker_id: str,
        capabilities: tuple[str, ...],
        category: str,
        zone: str,
        slots: int,
        accepts: bool,
        cpu: float,
    ) -> None:
        registration = Registration(
            slots=slots, capabilities=capabilities, specializations=(category,) if category else (),
            labels=(("zone", zone),) if zone else (), accepts_tasks=accepts, reports_outcomes=True,
        )  # fmt: skip
        plain = self.plain.workers.get(worker_id)
        depth = len(plain.leases) if plain else 0
        self.rig.connect(
            worker_id, registration=registration, sample=make_sample(cpu=cpu, memory=cpu, queue_depth=depth)
        )
        if plain is None:
            plain = self.plain.workers[worker_id] = PlainWorker(worker_id, frozenset(), frozenset(), {}, slots)
        plain.session = self.rig.session_of[worker_id]
        self._registered(plain, registration)
        self._unlisted(plain)
        self._sampled(plain, cpu)
        self._settle()

    def _registered(self, plain: PlainWorker, registration: Registration) -> None:
        plain.capabilities = frozenset(registration.capabilities)
        plain.specializations = frozenset(registration.specializations)
        plain.labels = dict(registration.labels)
        plain.accepts = registration.accepts_tasks
        plain.slots = registration.slots or 5

    def _unlisted(self, plain: PlainWorker) -> None:
        """A sample without a running list: nothing is known of what it was to stop."""
        plain.background -= plain.stopping
        plain.stopping = 0

    def _sampled(self, plain: PlainWorker, cpu: float, *, draining: bool = False) -> None:
        plain.load = round(cpu, 6)
        plain.degraded = plain.load >= (0.85 if plain.degraded else 0.9)
        plain.last_seen = self.rig.t
        plain.draining = draining
        plain.at_sample = plain.occupied

    def _fenced(self, plain: PlainWorker) -> bool:
        """Was its session ended before its heartbeat was looked at, because an acknowledgement was overdue?"""
        return any(
            isinstance(effect, Published)
            and effect.event.kind is FleetEventKind.WORKER_FENCED
            and effect.event.worker_id == plain.worker_id
            for effect in self.rig.out
        )

    def _live(self) -> list[PlainWorker]:
        return [worker for worker in self.plain.workers.values() if worker.session is not None]

    @precondition(lambda self: self._live())
    @rule(data=st.data(), cpu=shares, background=st.integers(0, 3), draining=st.booleans())
    def heartbeat_with_list(self, data: Any, cpu: float, background: int, draining: bool) -> None:
        plain = data.draw(st.sampled_from(self._live()))
        running = tuple(RunningLease(lease, 1.0) for lease in sorted(plain.leases))
        self.rig.beat(
            plain.worker_id, cpu=cpu, memory=cpu, queue_depth=len(running) + background, running=running,
            intent=Intent.DRAIN if draining else Intent.WORK,
        )  # fmt: skip
        if not self._fenced(plain):
            plain.background, plain.stopping = background, 0
            self._sampled(plain, cpu, draining=draining)
        self._settle()

    @precondition(lambda self: self._live())
    @rule(data=st.data(), slots=st.integers(1, 4), capabilities=subsets)
    def change_of_registration(self, data: Any, slots: int, capabilities: tuple[str, ...]) -> None:
        plain = data.draw(st.sampled_from(self._live()))
        registration = Registration(slots=slots, capabilities=capabilities, reports_outcomes=True)
        depth = plain.occupied
        self.rig.give(Heartbeat(plain.session or 0, make_sample(cpu=0.5, memory=0.5, queue_depth=depth), registration))
        if not self._fenced(plain):
            self._registered(plain, registration)
            self._unlisted(plain)
            self._sampled(plain, 0.5)
        self._settle()

    @precondition(lambda self: self._live())
    @rule(data=st.data())
    def disconnect(self, data: Any) -> None:
        plain = data.draw(st.sampled_from(self._live()))
        self.rig.disconnect(plain.worker_id)
        plain.session = None
        self._settle()

    @rule(required=subsets, excluded=st.lists(ids, max_size=3, unique=True), zone=zones,
          category=st.sampled_from(CATEGORIES), stream=st.booleans())  # fmt: skip
    def submit(self, required: tuple[str, ...], excluded: list[str], zone: str, category: str, stream: bool) -> None:
        task = PlainTask(frozenset(required), frozenset(excluded), {"zone": zone} if zone else {}, category, stream)
        now = self.rig.t
        best = self.plain.best(self.scorer, task, now)
        reply = self.rig.submit(
            required=required, excluded=tuple(sorted(excluded)), labels=(("zone", zone),) if zone else (),
            category=category, delivery=Delivery.STREAM if stream else Delivery.CALLER,
            max_attempts=1,  # a lost one is set aside: placed again, it would be granted in the midst of other events
        )  # fmt: skip
        if reply.decision is None:
            assert best is None, reply.refusal
            assert reply.refusal is not None
            said = {reason.name: count for reason, count in reply.refusal.rejections}
            counted = self.plain.refusals(task, now)
            if self._swept():
                assert said == counted
            assert sum(said.values()) == sum(counted.values()) == len(self.plain.workers)
            able = sum(
                count for why, count in said.items() if why not in {"CAPABILITY", "LABEL", "NOT_ACCEPTING", "EXCLUDED"}
            )
            assert (reply.refusal.reason is Reason.NO_CAPABLE_WORKER) == (able == 0 and bool(self.plain.workers))
        else:
            decision = reply.decision
            assert best is not None
            chosen = self.plain.workers[decision.worker_id]
            assert not self.plain.refusal(chosen, task, now)
            assert rank(self.scorer, chosen, task, now) == best
            if self._swept():
                assert decision.candidates == len(self.plain.candidates(task, now))
            self.plain.grant(decision.worker_id, decision.lease_id)
            self.tasks[decision.lease_id] = decision.task.task_id
        self._settle(submitted=True)

    def _swept(self) -> bool:
        """Has everyone who fell silent been seen to? Choices look at whom they could pick; counts wait for a sweep."""
        since = self.rig.t - (self.rig.core._sweep_at - 1.0)
        return not any(0.0 < worker.age(self.rig.t) - 30.0 <= since for worker in self.plain.workers.values())

    @precondition(lambda self: self.tasks)
    @rule(data=st.data(), succeeded=st.booleans(), duration_ms=st.sampled_from([100.0, 1_000.0, 7_000.0]))
    def outcome(self, data: Any, succeeded: bool, duration_ms: float) -> None:
        lease_id = data.draw(st.sampled_from(sorted(self.tasks)))
        self.time_passes(0.0)  # an offer that nobody took in time is over before its outcome comes
        if lease_id not in self.tasks:
            return
        plain = self.plain.workers[self.begun[lease_id]]
        answer = self.rig.end(lease_id, OutcomeStatus.SUCCEEDED if succeeded else OutcomeStatus.FAILED, duration_ms)
        assert answer.result is OutcomeResult.ACCEPTED
        if succeeded:
            plain.completed += 1
            plain.average_ms += (duration_ms - plain.average_ms) / plain.completed
        else:
            plain.failed += 1
        self._settle()
        assert self.rig.end(lease_id).result is OutcomeResult.DUPLICATE
        self._settle()

    @precondition(lambda self: self.tasks)
    @rule(data=st.data())
    def cancel(self, data: Any) -> None:
        lease_id = data.draw(st.sampled_from(sorted(self.tasks)))
        task_id = self.tasks[lease_id]
        plain = self.plain.workers.get(self.begun[lease_id])
        lease = self.rig.core.ledger.leases[lease_id]
        if plain is not None and plain.session is not None and lease.state is not TaskState.PLACED:
            plain.background += 1  # until its worker has said that it has stopped
            plain.stopping += 1
        self.rig.cancel(task_id)
        self._settle()
        self.rig.cancel(task_id)
        self._settle()

    @rule(worker_id=ids)
    def remove(self, worker_id: str) -> None:
        plain = self.plain.workers.pop(worker_id, None)
        reply = self.rig.remove(worker_id)
        assert (reply.refusal is None) == (plain is not None)
        assert reply.leases_lost == (len(plain.leases) if plain else 0)
        self._settle()

    @rule(seconds=st.sampled_from([0.1, 1.0, 4.9, 14.9, 15.0, 30.0, 30.1, 270.0]))
    def time_passes(self, seconds: float) -> None:
        for effect in self.rig.tick_for(seconds):
            if isinstance(effect, Published) and effect.event.kind is FleetEventKind.WORKER_FENCED:
                self.plain.workers[effect.event.worker_id].session = None
        self._settle()

    @precondition(lambda self: self._live())
    @rule(data=st.data())
    def late_silence(self, data: Any) -> None:
        """Time passes without a tick: what the next event decides must be right all the same."""
        seconds = data.draw(st.sampled_from([0.3, 0.6, 0.9]))
        if any(worker.age(self.rig.t) + seconds > 300.0 for worker in self.plain.workers.values()):
            self.time_passes(seconds)  # a removal that comes with an event would be told in the midst of it
        else:
            self.rig.go(seconds)

    # ------------------------------------------------------------------ what always holds

    def _settle(self, *, submitted: bool = False) -> None:
        """Take over what the effects say of leases and removals; each lease ends once."""
        for effect in self.rig.out:
            if isinstance(effect, Granted):
                assert submitted
                self.begun[effect.record.lease_id] = effect.record.worker_id
            elif isinstance(effect, Ended):
                lease_id = effect.record.lease_id
                assert lease_id in self.begun
                assert lease_id not in self.over
                self.over.add(lease_id)
                self.tasks.pop(lease_id, None)
                if effect.record.worker_id in self.plain.workers:
                    self.plain.end(effect.record.worker_id, lease_id)
            elif isinstance(effect, Published):
                event = effect.event
                if event.kind is FleetEventKind.WORKER_FENCED:
                    self.plain.workers[event.worker_id].session = None
                elif event.kind is FleetEventKind.WORKER_REMOVED and event.detail.startswith("silent"):
                    assert self.plain.workers.pop(event.worker_id).age(self.rig.t) > 300.0
        self.rig.out = []

    @invariant()
    def workers_agree(self) -> None:
        if not hasattr(self, "rig"):
            return
        fleet = self.rig.core.fleet
        assert set(fleet.records) == set(self.plain.workers)
        for worker_id, plain in self.plain.workers.items():
            record = fleet.records[worker_id]
            assert record.accounting is Accounting.TRACKED
            assert set(record.leases) == plain.leases
            assert (record.slots, record.occupied, record.free) == (plain.slots, plain.occupied, plain.free)
            assert record.free == record.slots - record.occupied
            assert record.success_rate == pytest.approx(
                plain.completed / (plain.completed + plain.failed) if plain.completed + plain.failed else 1.0
            )
            plain.speed = record.speed
            if record.health is not Health.UNHEALTHY:
                assert (record.health is Health.DEGRADED) == plain.degraded

    @invariant()
    def each_live_lease_is_held_once(self) -> None:
        if not hasattr(self, "rig"):
            return
        held = [lease for record in self.rig.core.fleet.records.values() for lease in record.leases]
        assert len(held) == len(set(held))
        assert set(held) == set(self.begun) - self.over == set(self.tasks)

    @invariant()
    def the_index_says_what_the_records_say(self) -> None:
        if not hasattr(self, "rig"):
            return
        fleet = self.rig.core.fleet
        seen = 0
        for pool in fleet.pools:
            check_pool(pool)
            seen += len(pool.members)
        assert seen == len(fleet.records)
        rows = [record.row for record in fleet.records.values()]
        assert len(set(rows)) == len(rows)
        for record in fleet.records.values():
            assert record.pool.members[record.pos] is record
            key, status = record.pool.keys[record.pos], record.status
            fleet.refresh(record)
            assert (record.pool.keys[record.pos], record.status) == (key, status), "the key was out of date"


def check_pool(pool: Pool) -> None:
    """Every invariant of a pool, by looking at all of it."""
    size = len(pool.members)
    keys = pool.keys[:size]
    assert (pool.keys[size:] == -inf).all()
    for block, top in enumerate(pool.tops):
        assert top == pool.keys[block * BLOCK : (block + 1) * BLOCK].max()
    assert pool.best == (keys.max() if size else -inf)
    if pool.best > -inf:
        assert keys[pool.top().pos] == pool.best
    counts = [0] * len(Rejection)
    for pos, record in enumerate(pool.members):
        assert record.pos == pos
        assert record.pool is pool
        counts[record.status] += 1
    assert counts == pool.counts
    assert np.array_equal(
        pool.open_flags[:size].astype(bool), [record.status is Rejection.CANDIDATE for record in pool.members]
    )
    assert not pool.open_flags[size:].any()


@pytest.mark.parametrize("scorer", ["weighted", "capability", "specialist", "earliest_finish"])
def test_the_core_agrees_with_the_plain_fleet(scorer: str) -> None:
    machine = type(f"{scorer.title()}Machine", (FleetMachine,), {"scorer": scorer})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=40, stateful_step_count=60, deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )  # fmt: skip
