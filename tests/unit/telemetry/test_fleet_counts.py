"""The counts that metrics read are kept where things change; a plain look at every worker must say the same."""

from collections import Counter
from random import Random
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule, run_state_machine_as_test

from scheduler_server.assignment.core import Scheduler
from scheduler_server.model.decision import Rejection
from scheduler_server.model.worker import Health
from scheduler_server.telemetry.instruments import PLACEMENT_REFUSALS
from tests.unit.assignment.rig import Rig, make_sample
from tests.unit.registry.test_against_plain import FleetMachine


def check(core: Scheduler) -> None:
    """Every maintained count against a scan."""
    fleet, ledger = core.fleet, core.ledger
    workers = list(fleet.records.values())
    counted = Counter(worker.health for worker in workers)
    assert fleet.by_health == {health: counted[health] for health in Health}
    assert fleet.slots == sum(worker.slots for worker in workers)
    assert fleet.candidates == sum(worker.status is Rejection.CANDIDATE for worker in workers)
    live = [lease for lease in ledger.leases.values() if lease.live]
    assert ledger.live == len(live)
    assert ledger.remembered == len(ledger.leases) - len(live)
    assert set(core.placement.refusals) <= set(PLACEMENT_REFUSALS), "a reason for which metrics have no label"
    waiting = sum(map(len, ledger.orphans.values()))
    assert ledger.live - waiting + fleet.background == sum(worker.occupied for worker in workers)


class CountedFleet(FleetMachine):
    """The machine that drives the core with random events; bare workers besides."""

    @rule(number=st.integers(0, 2), depth=st.integers(0, 6), beat=st.booleans())
    def bare(self, number: int, depth: int, beat: bool) -> None:
        rig, worker_id = self.rig, f"bare-{number}"
        record = rig.core.fleet.records.get(worker_id)
        if beat and record is not None and record.session is not None:
            rig.beat(worker_id, queue_depth=depth)
        else:
            rig.connect(worker_id, bare=True, sample=make_sample(queue_depth=depth))
        # The plain fleet knows no bare workers: nothing may be placed on one while it looks.
        rig.remove(worker_id)

    @invariant()
    def counts_agree(self) -> None:
        check(self.rig.core)


def test_counts_agree_with_a_scan_after_every_event() -> None:
    run_state_machine_as_test(
        CountedFleet,
        settings=settings(
            max_examples=30, stateful_step_count=50, deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )  # fmt: skip


def test_counts_agree_with_a_scan_in_a_fleet_of_bare_workers() -> None:
    chance = Random(7)
    rig = Rig()
    leases: list[str] = []

    def beat() -> Any:
        worker_id = f"w{chance.randrange(12)}"
        record = rig.core.fleet.records.get(worker_id)
        if record is None or record.session is None:
            return rig.connect(worker_id, bare=True, sample=make_sample(queue_depth=chance.randrange(7)))
        return rig.beat(worker_id, queue_depth=chance.randrange(7))

    def place() -> Any:
        reply = rig.submit()
        if reply.decision is not None:
            leases.append(reply.decision.lease_id)

    def lose() -> Any:
        worker_id = f"w{chance.randrange(12)}"
        if worker_id in rig.core.fleet.records:
            rig.remove(worker_id) if chance.random() < 0.5 else rig.disconnect(worker_id)

    def end() -> Any:
        if leases:
            rig.end(leases.pop(chance.randrange(len(leases))))

    verbs = [beat] * 6 + [place] * 8 + [lose, end] + [lambda: rig.tick_for(chance.choice((0.1, 1.0, 20.0, 400.0)))] * 2
    seen = Counter[str]()
    for _ in range(4_000):
        chance.choice(verbs)()
        check(rig.core)
        seen["background"] += rig.core.fleet.background != 0
        seen["leases"] += rig.core.ledger.live > 0
    assert seen["background"] > 500
    assert seen["leases"] > 500
