"""What one bad worker takes from a fleet: the real core on a virtual clock. `make blackhole` prints more of it."""

from statistics import mean

import pytest

from scheduler_server.assignment.settings import CoreSettings
from scheduler_server.model.fleet_event import FleetEventKind
from scheduler_server.registry.admission_settings import EjectionSettings
from tests.unit.assignment.fleet_sim import FleetSim, Worker, percentile
from tests.unit.assignment.rig import WALL_S

_RATE = 30.0  # of 40 that ten good workers can do


def fleet(*more: Worker, prefetch: int = 0) -> list[Worker]:
    return [*(Worker(f"w{number}", prefetch=prefetch) for number in range(10)), *more]


def test_a_black_hole_takes_most_tasks_without_ejection() -> None:
    settings = CoreSettings(ejection=EjectionSettings(enabled=False))
    sim = FleetSim(fleet(Worker("bad", fails=1.0)), rate=_RATE, settings=settings)
    sim.run(60.0)
    assert sim.by_worker()["bad"] > 0.5 * len(sim.tasks)


@pytest.mark.parametrize("bad", [1, 2])
def test_once_ejected_black_holes_take_at_most_one_percent(bad: int) -> None:
    holes = [Worker(f"bad{number}", fails=1.0) for number in range(bad)]
    sim = FleetSim(fleet(*holes), rate=_RATE)
    sim.run(200.0)
    ejected = sim.of_kind(FleetEventKind.WORKER_EJECTED)
    assert {event.worker_id for event in ejected} == {worker.worker_id for worker in holes}
    since = max(event.at for event in ejected[:bad]) - WALL_S - 1_000.0
    assert since < 10.0
    after = sim.by_worker(since)
    assert sum(after[worker.worker_id] for worker in holes) <= 0.01 * sum(after.values())


def test_a_deploy_that_fails_everywhere_ejects_nobody() -> None:
    sim = FleetSim(fleet(), rate=_RATE, fails=0.9)
    sim.run(60.0)
    assert not sim.of_kind(FleetEventKind.WORKER_EJECTED)
    assert not sim.of_kind(FleetEventKind.WORKER_EJECTION_CAPPED)


def test_failing_fast_never_looks_like_speed() -> None:
    settings = CoreSettings(ejection=EjectionSettings(enabled=False))
    sim = FleetSim(fleet(Worker("bad", fails=0.9)), rate=_RATE, settings=settings, scorer="earliest_finish")
    sim.run(60.0)
    bad, others = sim.core.fleet.records["bad"], [sim.core.fleet.records[f"w{number}"] for number in range(10)]
    assert bad.failed > 100
    assert bad.speed == pytest.approx(1.0, rel=0.5)
    assert bad.average > 0.3 * mean(other.average for other in others)
    prediction = sim.core.predictor.predict(next(iter(sim.core.ledger.latest())).task)
    assert prediction.point_ms > 500.0


@pytest.mark.parametrize("prefetch", [0, 2])
def test_a_worker_ten_times_slower_makes_nobody_wait_longer(prefetch: int) -> None:
    def p99(*more: Worker) -> float:
        found = []
        for seed in (1, 2):
            sim = FleetSim(fleet(*more, prefetch=prefetch), rate=36.0, seed=seed)
            sim.run(50.0, warm_s=20.0)
            found.append(percentile([told.wait_s for told in sim.tasks], 0.99))
        return mean(found)

    assert p99(Worker("slow", speed=0.1, prefetch=prefetch)) <= 1.2 * p99() + 0.01


def test_a_worker_ten_times_slower_is_given_tasks_only_where_no_other_is_free() -> None:
    sim = FleetSim(fleet(Worker("slow", speed=0.1)), rate=20.0)
    sim.run(100.0, warm_s=60.0)
    assert sim.core.fleet.records["slow"].leads is False
    assert sim.by_worker()["slow"] <= 0.002 * len(sim.tasks)
