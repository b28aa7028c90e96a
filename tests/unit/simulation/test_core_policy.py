"""The real core in a simulation decides what it would decide in a server, and hears what it would hear."""

from random import Random

import pytest

from scheduler_server.assignment.settings import CoreSettings
from scheduler_server.simulation.core_policy import simulated
from scheduler_server.simulation.engine import MOST_UNFINISHED
from tests.unit.simulation.simulated import core_of, pieces, simulate


def test_a_free_slot_takes_the_task_that_the_order_puts_first() -> None:
    """One slot: while the first runs, a long task comes and then a short one."""
    given = pieces((0.0, 10.0), (1.0, 500.0), (2.0, 1.0))
    by_arrival, _, _ = simulate("default+oracle+fifo", given, machines=1, slots=1)
    assert by_arrival.started == {0: 0.0, 1: 10.0, 2: 510.0}
    shortest, _, _ = simulate("default+oracle+shortest", given, machines=1, slots=1)
    assert shortest.started == {0: 0.0, 2: 10.0, 1: 11.0}


def test_patience_says_how_much_a_long_task_is_overtaken() -> None:
    """A key is since + patience * duration: 1 + 3 * 10 = 31 against 30.5 and 31.5."""
    given = pieces((0.0, 40.0), (1.0, 10.0), (27.5, 1.0), (28.5, 1.0))
    tape, _, _ = simulate("oracle+shortest+patience=3", given, machines=1, slots=1)
    assert sorted(tape.started, key=lambda number: tape.started[number]) == [0, 2, 1, 3]


def test_bound_at_once_a_task_waits_on_its_worker_and_late_in_the_server() -> None:
    """Two machines: the task that is bound at once to the slow one is not there when the fast one is free."""
    given = pieces((0.0, 10.0), (0.0, 10.0), (0.1, 10.0), (0.2, 10.0), (0.3, 10.0))
    late, _, _ = simulate("default+oracle", given, machines=2, slots=1, speeds=(0.1, 1.0))
    at_once, _, _ = simulate("default+oracle+immediate", given, machines=2, slots=1, speeds=(0.1, 1.0))
    assert max(late.started.values()) == 30.0
    assert max(at_once.started.values()) == 100.0


def test_the_oracle_predicts_each_duration_and_learning_predicts_some() -> None:
    chance = Random(3)
    given = pieces(*((5.0 * at, chance.lognormvariate(2.0, 0.5), "ab"[at % 2]) for at in range(200)))
    _, _, oracle = simulate("default+oracle", given, machines=4, slots=2)
    assert core_of(oracle).near == core_of(oracle).judged == 200
    _, _, learning = simulate("default", given, machines=4, slots=2)
    assert 20 < core_of(learning).near < 200


def test_where_all_fails_every_task_is_placed_by_the_fallback() -> None:
    given = pieces(*((0.5 * at, 3.0) for at in range(100)))
    tape, world, policy = simulate("default+failing", given, machines=3, slots=2)
    assert len(tape.ended_at) == 100
    assert world.refused == 0
    assert core_of(policy).fallback_share == 1.0


def test_speeds_are_learned_from_what_tasks_took() -> None:
    given = pieces(*((4.0 * at, 10.0) for at in range(400)))
    _, world, policy = simulate(
        "default+oracle+earliest_finish", given, machines=4, slots=1, speeds=(0.5, 1.0, 1.0, 2.0)
    )
    learned = {
        each.worker_id: each.speed for each in core_of(policy).core.fleet.records.values() if each.completed > 30
    }
    true = {machine.name: machine.speed for machine in world.machines if machine.name in learned}
    assert len(set(true.values())) > 1
    first = next(iter(true))  # speeds are those beside the others
    assert {name: learned[name] / learned[first] for name in true} == pytest.approx(
        {name: true[name] / true[first] for name in true}
    )


def test_a_task_that_waits_is_told_when_it_will_start() -> None:
    tape, _, _ = simulate("default+oracle", pieces(*((0.0, 10.0) for _ in range(20))), machines=2, slots=2)
    waited = [number for number, at in tape.started.items() if at > 0.0]
    assert len(waited) == 16
    for number in waited:
        told = tape.jobs[number].told
        assert told is not None
        assert told[0] <= told[1]
    assert all(tape.jobs[number].told is None for number in tape.started if number not in waited)


def test_a_worker_whose_slots_are_taken_by_others_is_given_nothing() -> None:
    given = pieces(*((20.0 + 2.0 * at, 1.0) for at in range(100)))
    tape, world, _ = simulate("default", given, machines=2, slots=1, background_share=0.5, background_slots=1.0)
    (full,) = (machine.name for machine in world.machines if machine.works_for_others)
    assert full not in tape.on.values()


def test_rare_heartbeats_are_no_silence() -> None:
    settings = simulated(CoreSettings(), 100.0)
    assert settings.health.unhealthy_after_s == 300.0
    assert settings.health.heartbeat_max_s == 100.0
    given = pieces(*((30.0 * at, 5.0) for at in range(100)))
    tape, _, policy = simulate("default", given, machines=2, slots=1, heartbeat_s=100.0)
    assert max(tape.started[at] - 30.0 * at for at in range(100)) < 1.0
    assert core_of(policy).core.fleet.slots == 2


def test_ordinary_heartbeats_leave_the_settings_as_they_are_but_for_bounds_of_memory() -> None:
    settings = simulated(CoreSettings(), 10.0)
    assert settings.health == CoreSettings().health
    assert settings.worker == CoreSettings().worker
    assert settings.predictor == CoreSettings().predictor
    assert settings.queue.max_length == 2 * MOST_UNFINISHED


def test_after_a_failure_a_machine_comes_back_and_is_given_tasks_again() -> None:
    given = pieces(*((5.0 * at, 4.0) for at in range(400)))
    tape, world, policy = simulate("default", given, machines=2, slots=1, mtbf_s=200.0, repair_s=40.0)
    assert world.failures > 4
    assert len(tape.ended_at) == 400
    late = [number for number in range(350, 400) if tape.attempts[number] == 1]
    assert {tape.on[number] for number in late} == {machine.name for machine in world.machines}
    assert core_of(policy).core.ledger.live == 0
