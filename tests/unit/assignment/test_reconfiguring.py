"""Other settings hold from one event to the next: what changes with them, and what must not."""

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scheduler_server.assignment import harm
from scheduler_server.assignment.effects import HandOver, Published, Reply
from scheduler_server.assignment.events import Configured, Event, Submit, Tick
from scheduler_server.assignment.recording import (
    RecordedStopwatch,
    ReplayedStopwatch,
    effect_lines,
    event_line,
    read_line,
    replay,
)
from scheduler_server.assignment.settings import CoreSettings
from scheduler_server.model.decision import Rejection
from scheduler_server.model.fleet_event import FleetEventKind
from scheduler_server.model.task import Delivery, Task, TaskState
from scheduler_server.model.worker import Health
from scheduler_server.predictor.settings import PredictorSettings
from scheduler_server.predictor.strategies import PREDICTORS
from tests.scenarios.story import events, make_core
from tests.unit.assignment.rig import Rig


def other(base: CoreSettings, **parts: dict[str, Any]) -> CoreSettings:
    """These settings with others in these parts."""
    return replace(base, **{name: replace(getattr(base, name), **values) for name, values in parts.items()})


def change(rig: Rig, **parts: dict[str, Any]) -> None:
    rig.give(Configured(other(rig.core.settings, **parts), rig.core.placement.policy_revision + 1))


def waiting(rig: Rig, task_id: str, **of_task: Any) -> Reply:
    """Submit a task that waits."""
    of_task.setdefault("task_type", "type")
    rig.give(Submit(Task("", task_id, 1, **of_task), enqueue=True))
    return rig.one(Reply)


def configured(**parts: dict[str, Any]) -> CoreSettings:
    return other(CoreSettings(), **parts)


ADAPTIVE = configured(predictor={"strategy": "ema"})
"""What the rig's predictor is."""


@pytest.fixture
def rig() -> Rig:
    made = Rig(ADAPTIVE)
    made.connect("w1", slots=2)
    return made


def test_each_decision_carries_the_revision_that_it_was_made_under(rig: Rig) -> None:
    assert rig.place().policy_revision == 1
    change(rig, scorer={"wait_weight": 0.7})
    assert [(each.event.kind, each.event.before, each.event.after) for each in rig.find(Published)] == [
        (FleetEventKind.CONFIG_CHANGED, "1", "2")
    ]
    assert rig.place().policy_revision == 2


def test_a_change_in_the_event_log_is_read_back_as_it_was(rig: Rig) -> None:
    event = Configured(
        configured(
            worker={"type_specializations": {"gpu": ("render", "train")}, "probe_interval_s": None},
            queue={"tenant_weights": {"a": 2.0}},
        ),
        7,
    )
    assert read_line(event_line(rig.now, event, [])) == (rig.now, event, [])


# ---------------------------------------------------------------------- strategies


def test_another_scorer_ranks_every_worker_anew(rig: Rig) -> None:
    rig.connect("w2", slots=2)
    rig.worker("w1").speed = 4.0
    rig.beat("w1", cpu=0.5)
    rig.beat("w2", cpu=0.1)
    first = rig.place()
    assert first.worker_id == "w2"
    rig.end(first.lease_id)  # w2 is the better one again
    change(rig, scorer={"strategy": "earliest_finish"})
    made = rig.place()
    assert (made.worker_id, made.scorer) == ("w1", "earliest_finish")


def test_other_weights_rank_every_worker_anew() -> None:
    rig = Rig(configured(predictor={"strategy": "ema"}, scorer={"strategy": "capability"}), scorer="capability")
    rig.connect("fast", slots=2)
    rig.place()
    rig.worker("fast").average = 1_000.0
    rig.connect("empty", slots=4)
    assert rig.place().worker_id == "empty"
    change(rig, scorer={"capacity_weight": 0.0, "speed_weight": 1.0})
    made = rig.place()
    assert made.worker_id == "fast"
    assert {name: weight for name, _, weight in made.terms}["speed"] == 1.0


def test_a_scorer_with_a_floor_bars_who_is_below_it_and_one_without_lets_them_in(rig: Rig) -> None:
    slow = configured(
        predictor={"strategy": "ema"},
        health={"healthy_within_s": 2000.0, "unhealthy_after_s": 2000.0, "remove_after_s": 2000.0},
    )
    rig = Rig(slow)
    rig.connect("w1")
    rig.go(1_000.0)  # a health score of 0.2
    change(rig, scorer={"strategy": "specialist"})
    assert rig.worker().barred is Rejection.HEALTH_SCORE
    change(rig, scorer={"strategy": "weighted"})
    assert rig.worker().barred is Rejection.CANDIDATE
    assert rig.place().worker_id == "w1"


def test_another_predictor_is_taught_the_last_outcomes_and_the_one_before_is_kept_for_going_back(rig: Rig) -> None:
    for _ in range(5):
        rig.end(rig.place().lease_id, duration_ms=3_000.0)
    before = rig.core.predictor
    change(rig, predictor={"strategy": "median"})
    made = rig.place()
    assert made.prediction is not None
    assert (made.prediction.predictor, made.prediction.point_ms) == ("median", 3_000.0)
    rig.go(1.0)
    rig.end(made.lease_id, duration_ms=1_000.0)
    change(rig, predictor={"strategy": "ema"})
    assert rig.core.predictor is before
    back = rig.place().prediction
    assert back is not None
    assert (back.sample_count, back.point_ms) == (6, 0.3 * 1_000.0 + 0.7 * 3_000.0)  # what ended meanwhile counts, once


def test_a_snapshot_has_what_every_predictor_learned_that_was_in_force(rig: Rig) -> None:
    rig.end(rig.place().lease_id, duration_ms=3_000.0)
    change(rig, predictor={"strategy": "median"})
    kept = list(rig.core.snapshot(rig.now))
    after = Rig(configured(predictor={"strategy": "median"}), predictor=PREDICTORS["median"](PredictorSettings()))
    assert after.core.restore(after.now, kept) == []
    after.connect("w1")
    change(after, predictor={"strategy": "ema"})
    prediction = after.place().prediction
    assert prediction is not None
    assert (prediction.predictor, prediction.sample_count) == ("ema", 1)


@pytest.mark.parametrize("strategy", sorted(PREDICTORS))
def test_every_predictor_goes_by_other_defaults_at_once(strategy: str) -> None:
    of = {"strategy": strategy}
    rig = Rig(configured(predictor=of), predictor=PREDICTORS[strategy](PredictorSettings()))
    rig.connect("w1", slots=9)
    for values, expected in (
        ({}, 5_000.0),
        ({"default_ms": 700.0}, 700.0),
        ({"category_defaults_ms": {"c": 60.0}}, 60.0),
        ({"type_defaults_ms": {"type": 50.0}}, 50.0),
    ):
        change(rig, predictor=values)
        assert rig.place(category="c").duration_ms == expected


@pytest.mark.parametrize("strategy", ["ema", "median", "last_two"])
def test_a_predictor_that_may_keep_less_shrinks_a_few_keys_at_a_time(strategy: str) -> None:
    predictor = PREDICTORS[strategy](PredictorSettings(max_types=10))
    for number in range(10):
        predictor.observe(Task("", "t", 1, f"type {number}"), 1.0)
    predictor.reconfigure(PredictorSettings(max_types=3))  # type: ignore[attr-defined]
    kept = []
    for number in range(10, 14):
        predictor.observe(Task("", "t", 1, f"type {number}"), 1.0)
        kept.append(predictor.keys)
    assert kept == [7, 4, 3, 3]


def test_the_adaptive_predictor_shrinks_likewise() -> None:
    predictor = PREDICTORS["adaptive"](PredictorSettings(max_keys=40))
    for number in range(60):
        predictor.observe(Task("", "t", 1, f"type {number}"), 1.0)
    assert predictor.keys == 40
    predictor.reconfigure(PredictorSettings(max_keys=10))  # type: ignore[attr-defined]
    for number in range(60, 90):
        predictor.observe(Task("", "t", 1, f"type {number}"), 1.0)
    assert predictor.keys == 10


# ---------------------------------------------------------------------- workers


def test_thresholds_of_silence_judge_those_that_are_silent_already(rig: Rig) -> None:
    rig.go(20.0)
    assert rig.worker().health is Health.HEALTHY
    change(rig, health={"healthy_within_s": 10.0, "heartbeat_max_s": 5.0, "unhealthy_after_s": 15.0})
    assert rig.worker().health is Health.UNHEALTHY
    change(rig, health={"unhealthy_after_s": 25.0})
    assert rig.worker().health is Health.DEGRADED
    change(rig, health={"healthy_within_s": 25.0})
    assert rig.worker().health is Health.HEALTHY


def test_weights_and_limits_of_load_judge_the_last_samples(rig: Rig) -> None:
    rig.beat(cpu=0.2, memory=1.0)
    assert rig.worker().health is Health.HEALTHY
    change(rig, health={"cpu_weight": 0.0, "memory_weight": 1.0})
    assert (rig.worker().load, rig.worker().health) == (1.0, Health.DEGRADED)
    change(rig, health={"cpu_weight": 1.0, "memory_weight": 0.0})
    assert (rig.worker().load, rig.worker().health) == (0.2, Health.HEALTHY)
    change(rig, health={"degraded_load": 0.2, "recovered_load": 0.1})
    assert rig.worker().health is Health.DEGRADED


def test_a_longer_patience_spares_who_would_have_been_lost_and_a_shorter_one_loses_who_is_silent(rig: Rig) -> None:
    lease = rig.place(delivery=Delivery.CALLER)
    rig.tick_for(200.0)
    change(rig, health={"remove_after_s": 1_000.0})
    rig.tick_for(200.0)
    assert rig.core.ledger.leases[lease.lease_id].live
    change(rig, health={"lost_after_s": 450.0})
    rig.tick_for(49.0)
    assert rig.core.ledger.leases[lease.lease_id].live
    rig.tick_for(3.0)
    assert not rig.core.ledger.leases[lease.lease_id].live
    assert rig.worker().row >= 0  # lost, and not yet removed


def test_workers_that_do_not_say_their_slots_have_the_new_number_at_once_and_waiting_tasks_take_it(rig: Rig) -> None:
    rig = Rig(configured(predictor={"strategy": "ema"}, worker={"default_slots": 1}))
    rig.connect("w1", slots=None)
    rig.connect("w2", slots=1)
    rig.place()
    rig.place()
    waiting(rig, "later")
    change(rig, worker={"default_slots": 2})
    assert (rig.worker("w1").slots, rig.worker("w2").slots) == (2, 1)
    assert rig.core.ledger.tasks["", "later"].worker_id == "w1"


def test_fewer_slots_than_are_taken_lose_no_lease(rig: Rig) -> None:
    rig = Rig(configured(predictor={"strategy": "ema"}, worker={"default_slots": 3}))
    rig.connect("w1", slots=None)
    leases = [rig.place().lease_id for _ in range(3)]
    change(rig, worker={"default_slots": 1})
    assert list(rig.worker().leases) == leases
    for lease_id in leases[:2]:
        rig.end(lease_id)
    assert rig.refuse().reason == "NO_FREE_SLOT"
    rig.end(leases[2])
    assert rig.place()


def test_fewer_offers_at_once_bar_a_worker_until_it_has_acknowledged_some() -> None:
    rig = Rig(ADAPTIVE)
    rig.connect("w1", slots=9, accepts_tasks=True)
    for _ in range(3):
        rig.place(delivery=Delivery.STREAM)
    change(rig, worker={"max_offers": 3})
    assert rig.worker().barred is Rejection.OUTBOUND_FULL
    change(rig, worker={"max_offers": 4})
    assert rig.worker().barred is Rejection.CANDIDATE


# ---------------------------------------------------------------------- waiting


def order(rig: Rig) -> list[str]:
    """The waiting tasks in the order in which one slot takes them."""
    found = []
    while rig.core.queue.waiting.placeable:
        lease = next(iter(rig.worker().leases))
        rig.go(0.001)
        rig.end(lease)
        found.append(rig.worker().leases[next(iter(rig.worker().leases))].task.task_id)
    return found


def test_another_order_holds_for_what_waits_already() -> None:
    tasks = [("long", 60_000.0, 0.0), ("short", 1_000.0, 0.0), ("urgent", 30_000.0, 1.0)]
    defaults = {name: ms for name, ms, _ in tasks}
    for said, expected in (
        ({"order": "fifo"}, ["long", "short", "urgent"]),
        ({"order": "priority"}, ["urgent", "long", "short"]),
        ({"order": "shortest", "priority_worth_s": 0.0}, ["short", "urgent", "long"]),
        ({"order": "shortest", "patience": 0.0, "priority_worth_s": 0.0}, ["long", "short", "urgent"]),
    ):
        first = {"order": "priority"} if said["order"] == "fifo" else {"order": "fifo"}
        rig = Rig(configured(predictor={"strategy": "ema", "type_defaults_ms": defaults}, queue=first))
        rig.connect("w1", slots=1)
        rig.place()
        for name, _, priority in tasks:
            rig.go(0.001)
            waiting(rig, name, task_type=name, priority=priority)
        change(rig, queue=said)
        assert order(rig) == expected, said


def test_the_objective_changes_order_patience_and_scorer_together(rig: Rig) -> None:
    change(rig, assignment={"objective": "even"})
    assert (rig.core.queue.waiting.order.name, rig.core.scorer.name) == ("fifo", "capability")
    change(rig, assignment={"objective": "latency"})
    assert (rig.core.queue.waiting.order.name, rig.core.scorer.name) == ("shortest", "earliest_finish")
    change(rig, scorer={"strategy": "weighted"})
    assert rig.core.scorer.name == "weighted"


def test_waiting_tasks_are_only_lined_up_anew_where_their_keys_change(rig: Rig) -> None:
    lineup = rig.core.queue.waiting.lineup
    change(rig, queue={"max_length": 7, "tenant_weights": {"a": 2.0}})
    assert rig.core.queue.waiting.lineup is lineup
    change(rig, queue={"patience": 3.0})
    assert rig.core.queue.waiting.lineup is not lineup


def test_weights_of_tenants_hold_for_tenants_that_wait() -> None:
    rig = Rig(configured(predictor={"strategy": "ema"}, queue={"order": "fair"}))
    rig.connect("w1", slots=1)
    rig.place()
    for number in range(6):
        rig.give(Submit(Task("a", f"a{number}", 1, "type"), enqueue=True))
        rig.give(Submit(Task("b", f"b{number}", 1, "type"), enqueue=True))
    change(rig, queue={"tenant_weights": {"b": 5.0}})
    assert "".join(order(rig))[0::2][:6].count("b") >= 4


# ---------------------------------------------------------------------- harm


def judged(rig: Rig, **parts: dict[str, Any]) -> harm.Outcome:
    return harm.judge(rig.core, rig.now, other(rig.core.settings, **parts))


def fleet(workers: int) -> Rig:
    rig = Rig(ADAPTIVE)
    for number in range(workers):
        rig.connect(f"w{number}")
    return rig


def test_a_threshold_that_half_of_the_fleet_is_under_is_allowed_and_one_worker_more_is_harm() -> None:
    rig = fleet(4)
    for number in range(2):
        rig.beat(f"w{number}", cpu=1.0)  # a load of 0.6
    limits = {"degraded_load": 0.6, "recovered_load": 0.5}
    assert judged(rig, health=limits).harms == ()
    assert judged(rig, health=limits).changed_health == 2
    rig.beat("w2", cpu=1.0)
    [found] = judged(rig, health=limits).harms
    assert found.setting == "health.degraded_load"
    assert "3 of 4 workers would be degraded by their load" in found.message
    assert judged(rig, health={**limits, "degraded_load": 0.601}).harms == ()


def test_silence_is_judged_by_the_pace_at_which_workers_beat_whenever_it_is_asked() -> None:
    rig = fleet(3)
    for record in rig.core.fleet.records.values():
        record.heartbeat_interval_s = 10.0
    limits = {"heartbeat_min_s": 0.1, "heartbeat_max_s": 1.0, "healthy_within_s": 2.0, "unhealthy_after_s": 9.0}
    assert [each.setting for each in judged(rig, health=limits).harms] == ["health.unhealthy_after_s"]
    limits["unhealthy_after_s"] = 12.0
    assert [each.setting for each in judged(rig, health=limits).harms] == ["health.healthy_within_s"]
    limits["healthy_within_s"] = 10.0
    assert judged(rig, health=limits).harms == ()


def test_workers_that_would_be_forgotten_at_once_are_harm(rig: Rig) -> None:
    rig.tick_for(100.0)
    assert judged(rig, health={"remove_after_s": 100.0}).harms == ()
    assert [each.setting for each in judged(rig, health={"remove_after_s": 99.0}).harms] == ["health.remove_after_s"]


def test_weights_under_which_all_workers_are_alike_are_harm(rig: Rig) -> None:
    assert judged(rig, scorer={"wait_weight": 0.0}).harms == ()
    [found] = judged(rig, scorer={"wait_weight": 0.0, "load_weight": 0.0}).harms
    assert found.setting == "scorer.load_weight"
    none = {"strategy": "capability", "capacity_weight": 0.0, "success_weight": 0.0, "speed_weight": 0.0}
    assert len(judged(rig, scorer=none).harms) == 1
    assert judged(rig, scorer={**none, "speed_weight": 0.01}).harms == ()


def test_a_budget_that_most_decisions_exceed_is_harm(rig: Rig) -> None:
    for _ in range(99):
        rig.core.placement.latencies.observe(1e-3)
    assert judged(rig, predictor={"budget_ms": 0.5}).harms == ()  # too few to judge by
    rig.core.placement.latencies.observe(1e-3)
    assert [each.setting for each in judged(rig, predictor={"budget_ms": 0.5}).harms] == ["predictor.budget_ms"]
    assert judged(rig, predictor={"budget_ms": 2.0}).harms == ()


def test_what_is_odd_is_told(rig: Rig) -> None:
    for number in range(2):
        rig.place(f"running {number}")
    for number in range(3):
        waiting(rig, f"t{number}")
    assert judged(rig, queue={"max_length": 3}).warnings == ()
    assert "3 tasks wait already" in judged(rig, queue={"max_length": 2}).warnings[0]


# ---------------------------------------------------------------------- whatever comes, in whatever order

_SOME: list[Callable[[Random], dict[str, dict[str, Any]]]] = [
    lambda chance: {"scorer": {"strategy": chance.choice(["", "weighted", "capability", "specialist"])}},
    lambda chance: {"scorer": {"load_weight": chance.random(), "wait_weight": chance.random()}},
    lambda chance: {"predictor": {"strategy": chance.choice(sorted(PREDICTORS))}},
    lambda chance: {"predictor": {"default_ms": chance.uniform(1.0, 9_000.0)}},
    lambda chance: {"queue": {"order": chance.choice(["", "fifo", "priority", "shortest", "fair"])}},
    lambda chance: {"queue": {"patience": chance.choice([None, 0.0, 5.0])}},
    lambda chance: {"queue": {"tenant_weights": {"a": chance.uniform(1.0, 9.0)}}},
    lambda chance: {"assignment": {"objective": chance.choice(["throughput", "latency", "even", "balanced"])}},
    lambda chance: {"health": {"degraded_load": chance.uniform(0.85, 1.0)}},
    lambda chance: {"health": {"remove_after_s": chance.uniform(100.0, 900.0)}},
    lambda chance: {"worker": {"default_slots": chance.randint(1, 4), "max_offers": chance.randint(1, 9)}},
    lambda chance: {"fallback": {"failure_threshold": chance.randint(1, 9)}},
]  # fmt: skip


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**32))
def test_no_lease_and_no_waiting_task_is_lost_and_the_next_is_always_the_one_that_the_order_names(seed: int) -> None:
    chance = Random(seed)
    rig = Rig(ADAPTIVE)
    for number in range(3):
        rig.connect(f"w{number}", slots=None if number else 2)
    live: dict[str, str] = {}
    known: set[str] = set()
    revision = 1
    for step in range(60):
        rig.go(chance.uniform(0.0, 1.0))
        rig.beat_all()
        move = chance.random()
        if move < 0.3:
            change(rig, **chance.choice(_SOME)(chance))
            assert rig.core.placement.policy_revision == revision + 1
            revision += 1
        elif move < 0.75:
            name = f"t{step}"
            known.add(name)
            task = Task(chance.choice("ab"), name, 1, chance.choice("xyz"), priority=chance.random())
            rig.give(Submit(task, enqueue=True))
        elif live:
            rig.end(live.pop(chance.choice(sorted(live))), duration_ms=chance.uniform(1.0, 9_000.0))
        else:
            rig.give(Tick())
        for record in rig.core.ledger.tasks.values():
            if record.live:
                live.setdefault(record.task.task_id, record.lease_id)
                assert record.decision.policy_revision <= revision
        waits = {waiter.event.task.task_id for waiter in rig.core.queue.waiting.by_task.values()}
        ended = {record.task.task_id for record in rig.core.ledger.tasks.values() if not record.live}
        assert waits | set(live) | ended == known
        assert not waits & set(live)
        assert set(live) == {
            lease.task.task_id for each in rig.core.fleet.records.values() for lease in each.leases.values()
        }
        _check_order(rig)
        _check_keys(rig)


def _check_order(rig: Rig) -> None:
    """Positions are those of a plain sort by what the order says, where it does not go by tenant."""
    waiting_tasks = rig.core.queue.waiting
    if waiting_tasks.order.by_tenant:
        return
    plain = sorted(waiting_tasks.by_task.values(), key=lambda waiter: waiter.rank_key)
    assert [waiting_tasks.ahead(waiter)[0] for waiter in plain] == list(range(len(plain)))
    for waiter in plain:
        task = waiter.event.task
        settings, since = rig.core.settings, waiter.since
        worth = settings.queue.priority_worth_s
        patience = settings.queue.patience_for(settings.assignment.objective)
        backlog = settings.queue.backlog_patience_for(settings.assignment.objective)
        expected = {
            "fifo": since,
            "priority": since - worth * task.priority,
            "shortest": since + patience * waiter.work_s + backlog * waiter.allowance_s - worth * task.priority,
        }[waiting_tasks.order.name]
        assert waiter.key == expected


def _check_keys(rig: Rig) -> None:
    """Every key is the one that a fresh look gives."""
    fleet = rig.core.fleet
    before = {name: float(record.pool.keys[record.pos]) for name, record in fleet.records.items()}
    fleet.refresh_all()
    assert {name: float(record.pool.keys[record.pos]) for name, record in fleet.records.items()} == before


def test_a_hand_over_after_the_change_has_the_new_time_for_its_ack() -> None:
    rig = Rig(ADAPTIVE)
    rig.connect("w1", accepts_tasks=True)
    change(rig, assignment={"ack_within_s": 2.0})
    rig.place("t", delivery=Delivery.STREAM)
    assert rig.one(HandOver).ack_within_s == 2.0
    rig.tick_for(3.0)
    assert rig.core.ledger.tasks["", "t"].state is not TaskState.OFFERED


def test_a_log_of_events_with_changes_among_them_makes_the_same_effects_again() -> None:
    chance = Random(5)
    stopwatch = RecordedStopwatch(lambda: 0.0)
    core = make_core(stopwatch, "weighted")
    told, done, revision = [], [], 1
    for now, event in events(core, 1_500, seed=3):
        given_now: list[Event] = [event]
        if chance.random() < 0.05:
            revision += 1
            given_now.append(Configured(other(core.settings, **chance.choice(_SOME)(chance)), revision))
        for each in given_now:
            done += effect_lines(core.handle(now, each))
            told.append(event_line(now, each, stopwatch.take()))
    replayed = ReplayedStopwatch()
    assert list(replay(make_core(replayed, "weighted"), replayed, told)) == done
    assert revision > 50
