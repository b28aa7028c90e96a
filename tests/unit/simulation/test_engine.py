"""The virtual clock: machines work as machines do, whatever a policy decides."""

from heapq import heapify, heapreplace
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler_server.assignment.settings import CoreSettings
from scheduler_server.model.calendar import UTC, Calendar, WorkingHours
from scheduler_server.simulation import engine
from scheduler_server.simulation.engine import BEGIN_S, Stalled, World
from scheduler_server.simulation.fleet import Capability, FleetPlan, Job, Machine
from scheduler_server.simulation.names import choice
from scheduler_server.simulation.pieces import Piece
from scheduler_server.simulation.policies import PLAIN
from tests.unit.simulation.simulated import Tape, pieces, simulate

_SETTINGS = CoreSettings()
POLICIES = (*PLAIN, "default", "default+immediate", "default+failing")
NINE_TO_FIVE = Calendar(UTC, (WorkingHours((1, 2, 3, 4, 5), 9 * 60, 17 * 60),))

tasks = st.lists(
    st.tuples(st.floats(0, 50), st.floats(0.1, 30), st.sampled_from(["a", "b"])), min_size=1, max_size=40
).map(lambda found: pieces(*sorted(found)))


@pytest.mark.parametrize("policy", POLICIES)
@settings(max_examples=6, deadline=None)
@given(given_tasks=tasks, machines=st.integers(1, 4), slots=st.integers(1, 3), mtbf_s=st.sampled_from([0.0, 60.0]))
def test_every_task_runs_once_and_no_machine_above_its_slots(
    policy: str, given_tasks: list[Piece], machines: int, slots: int, mtbf_s: float
) -> None:
    tape, world, _ = simulate(
        policy, given_tasks, machines=machines, slots=slots, speeds=(1.0, 2.0), mtbf_s=mtbf_s, repair_s=20.0
    )
    assert sorted(tape.ended_at) == list(range(len(given_tasks)))
    speeds = {machine.name: machine.speed for machine in world.machines}
    for number, piece in enumerate(given_tasks):
        assert tape.started[number] >= piece.at_s - 1e-9
        ran = tape.ended_at[number] - tape.started[number]
        assert ran == pytest.approx(piece.work_s / speeds[tape.on[number]])
    for name in speeds:
        changes = [(tape.started[n], 1) for n, on in tape.on.items() if on == name]
        changes += [(tape.ended_at[n], -1) for n, on in tape.on.items() if on == name]
        at_once = 0
        for _, change in sorted(changes):
            at_once += change
            assert at_once <= slots


@settings(max_examples=20, deadline=None)
@given(given_tasks=tasks, machines=st.integers(1, 4), slots=st.integers(1, 3))
def test_round_robin_is_that_of_a_plain_second_version(given_tasks: list[Piece], machines: int, slots: int) -> None:
    """Lindley's recursion, machine by machine: a task starts when it comes, or when the first slot is free."""
    tape, world, _ = simulate("round_robin", given_tasks, machines=machines, slots=slots, speeds=(0.5, 1.0))
    free = {machine.index: [0.0] * slots for machine in world.machines}
    for number, (at, work_s, _) in enumerate(given_tasks):
        machine = world.machines[number % machines]
        slots_free = free[machine.index]
        heapify(slots_free)
        start = max(at, slots_free[0])
        heapreplace(slots_free, start + work_s / machine.speed)
        assert tape.started[number] == pytest.approx(start)


@settings(max_examples=20, deadline=None)
@given(given_tasks=tasks, slots=st.integers(1, 6))
def test_one_central_queue_is_that_of_a_plain_second_version(given_tasks: list[Piece], slots: int) -> None:
    tape, _, _ = simulate("central_fifo", given_tasks, machines=slots, slots=1)
    free = [0.0] * slots
    for number, (at, work_s, _) in enumerate(given_tasks):
        start = max(at, free[0])
        heapreplace(free, start + work_s)
        assert tape.started[number] == pytest.approx(start)


def test_the_least_loaded_machine_is_the_one_with_the_fewest_tasks_for_its_slots() -> None:
    chance = Random(1)
    given_tasks = pieces(*((at * 0.5, chance.uniform(1, 20)) for at in range(400)))
    world = World(FleetPlan(machines=7, slots=2), iter(given_tasks), Tape(), "1")
    policy = choice("least_loaded").make(world, _SETTINGS, "1")
    real_give = world.give

    def give(now: float, job: Job, machine: Machine) -> None:
        assert machine.unfinished == min(each.unfinished for each in world.machines)
        real_give(now, job, machine)

    world.give = give  # type: ignore[method-assign]
    world.run(policy)
    assert world.ended == 400


def test_best_of_two_never_takes_the_fuller_of_two() -> None:
    tape, _, _ = simulate("p2c", pieces(*((0.0, 10.0) for _ in range(2))), machines=2, slots=5)
    assert tape.on[0] != tape.on[1]


def test_a_task_whose_machine_failed_runs_again_elsewhere_and_has_waited_since_it_first_came() -> None:
    tape, world, _ = simulate(
        "central_fifo", pieces((0.0, 50.0), (1.0, 50.0)), machines=2, slots=1, mtbf_s=40.0, repair_s=5.0
    )
    assert world.failures > 0
    assert max(tape.attempts.values()) > 1
    again = max(tape.attempts, key=lambda number: tape.attempts[number])
    assert tape.jobs[again].arrived == BEGIN_S + float(again)
    assert tape.started[again] > float(again)


@pytest.mark.parametrize("policy", POLICIES)
def test_nothing_starts_outside_working_hours(policy: str) -> None:
    friday_s = 4 * 86_400.0
    given_tasks = pieces(*((friday_s + 3_600.0 * hour, 600.0) for hour in range(0, 24 * 4, 4)))
    tape, _, _ = simulate(policy, given_tasks, machines=2, slots=4, calendar=NINE_TO_FIVE, heartbeat_s=300.0)
    hours = {(at // 3_600 % 24, at // 86_400 % 7) for at in tape.started.values()}
    assert {hour for hour, _ in hours} <= set(range(9, 17))
    assert {day for _, day in hours} == {4, 0, 1}  # Friday, Monday, and what came on Monday evening


@pytest.mark.parametrize("policy", POLICIES)
def test_a_task_runs_where_its_capability_is(policy: str) -> None:
    gpu = Capability(name="gpu", machines=0.25, tasks=0.5)
    tape, world, _ = simulate(
        policy, pieces(*((float(at), 3.0) for at in range(60))), machines=4, slots=2, capabilities=(gpu,)
    )
    able = {machine.name for machine in world.machines if "gpu" in machine.can}
    assert len(able) == 1
    wanting = [number for number, job in tape.jobs.items() if job.wants]
    assert 10 < len(wanting) < 50
    assert {tape.on[number] for number in wanting} == able


@pytest.mark.parametrize("policy", ["central_fifo", "p2c", "default", "default+immediate"])
def test_work_of_others_takes_its_slots(policy: str) -> None:
    tape, world, _ = simulate(
        policy, pieces(*((0.1 * at, 30.0) for at in range(40))), machines=2, slots=4, background_share=0.5
    )
    assert sorted(machine.works_for_others for machine in world.machines) == [0, 2]
    (half,) = (machine.name for machine in world.machines if machine.works_for_others)
    on_half = sorted(tape.started[number] for number, on in tape.on.items() if on == half)
    assert all(later - first >= 30.0 - 1e-6 for first, later in zip(on_half, on_half[2:], strict=False))


def test_work_of_others_comes_and_goes() -> None:
    tape, world, _ = simulate(
        "default",
        pieces(*((2.0 * at, 5.0) for at in range(500))),
        machines=2,
        slots=2,
        background_share=1.0,
        background_slots=1.0,
        background_period_s=100.0,
    )
    assert len(tape.started) == 500
    assert world.unfinished == 0


def test_a_long_rest_is_passed_over_and_still_counts() -> None:
    year_s = 365 * 86_400.0
    _, world, _ = simulate("default", pieces((0.0, 10.0), (year_s, 10.0)), machines=1, slots=1)
    assert world.skipped_s > 0.99 * year_s
    assert world.first_s is not None
    assert world.last_end_s - world.first_s + world.skipped_s == pytest.approx(year_s + 10.0)


def test_too_many_waiting_tasks_stop_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "MOST_UNFINISHED", 20)
    given_tasks = pieces(*((0.001 * at, 100.0) for at in range(100)))
    _, world, _ = simulate("round_robin", given_tasks, machines=1, slots=1)
    assert world.overflowed
    assert world.unfinished == 21


def test_a_policy_that_never_starts_anything_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_STALLED_AFTER", 1_000)
    world = World(FleetPlan(machines=1), iter(pieces((0.0, 1.0))), Tape(), "1")
    policy = choice("default").make(world, _SETTINGS, "1")
    world.give = lambda *_: None  # type: ignore[method-assign]
    with pytest.raises(Stalled, match="1 tasks wait, and nothing starts them"):
        world.run(policy)


def test_how_busy_machines_are_is_measured_while_tasks_come() -> None:
    """Two slots, the first task runs all of the ten seconds until the last comes, the second for five of them."""
    _, world, _ = simulate("central_fifo", pieces((0.0, 100.0), (0.0, 5.0), (10.0, 1.0)), machines=1, slots=2)
    (machine,) = world.machines
    assert machine.present_s == pytest.approx(10.0)
    assert machine.busy_s == pytest.approx(15.0)


@pytest.mark.parametrize("policy", POLICIES)
def test_the_same_seed_gives_the_same_run_and_another_one_another(policy: str) -> None:
    chance = Random(5)
    given_tasks = pieces(*((at * 0.9, chance.expovariate(0.2), "ab"[at % 2]) for at in range(300)))
    plan: Any = {"machines": 4, "slots": 2, "speeds": (0.5, 1.0, 2.0), "mtbf_s": 300.0, "repair_s": 30.0}
    runs = [simulate(policy, given_tasks, seed=seed, **plan)[0] for seed in ("1", "1", "2")]
    assert runs[0].started == runs[1].started
    assert runs[0].started != runs[2].started


def test_a_heartbeat_is_heard_as_late_as_was_said_and_says_what_was_true_then() -> None:
    tape = Tape()
    plan = FleetPlan(machines=1, slots=2, heartbeat_s=1.0, heartbeat_delay_s=3.5)
    world = World(plan, iter(pieces((2.2, 4.0))), tape, "1")
    policy = choice("default").make(world, _SETTINGS, "1")
    heard: list[tuple[float, float, int]] = []
    policy.heard = lambda now, beat: heard.append((now - BEGIN_S, beat.at - BEGIN_S, beat.busy))  # type: ignore[method-assign]
    world.run(policy)
    assert all(now - at == pytest.approx(3.5) for now, at, _ in heard)
    assert [busy for _, at, busy in heard if at <= 2.2] == [0] * sum(at <= 2.2 for _, at, _ in heard)
    assert [busy for now, at, busy in heard if now < 6.1 and at > 2.2] == []  # nobody has heard of it yet
    assert [now for now, _, _ in heard][:2] == [1.0, 2.0]  # what was on its way when all began


def test_a_policy_hears_only_what_it_wants_to() -> None:
    heard: list[float] = []
    world = World(FleetPlan(machines=2), iter(pieces((0.0, 500.0))), Tape(), "1")
    policy = choice("p2c").make(world, _SETTINGS, "1")
    policy.heard = lambda now, beat: heard.append(now)  # type: ignore[method-assign]  # noqa: ARG005 -- as it is called
    world.run(policy)
    assert heard == []
