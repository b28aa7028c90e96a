"""How many slots would serve what waits within a target: by hand, and followed by a simulated autoscaler."""

from math import ceil, sqrt
from random import Random
from typing import Any

import pytest

from scheduler_server.assignment.demand import ClassDemand, Demand, DemandLook, Sum, Trends
from scheduler_server.assignment.demand_settings import DemandSettings
from scheduler_server.assignment.events import CreateOverride, Ordered, Submit
from scheduler_server.assignment.queue_settings import QueueSettings
from scheduler_server.assignment.settings import CoreSettings
from scheduler_server.model.clock import Now
from scheduler_server.model.override import Action, Override
from scheduler_server.model.standing import About, OrderKind, StandingOrder
from scheduler_server.model.task import Delivery, Task
from scheduler_server.model.worker import Intent, LeaseReport, Registration, ReportKind, RunningLease
from tests.autoscaled import Autoscaled, Phase
from tests.unit.assignment.rig import Rig, make_sample

WORK_S = 5.0  # of a task that nothing is known of


def look(rig: Rig, target_s: float = 5.0, trends: Trends | None = None, **of_look: Any) -> Demand:
    settings = of_look.pop("settings", DemandSettings())
    found = DemandLook(rig.core, settings, target_s, trends or Trends())
    for _ in found.steps(rig.now, **of_look):
        pass
    assert found.demand is not None
    return found.demand


def wait(rig: Rig, *names: str, **of_task: Any) -> None:
    for name in names:
        rig.give(Submit(Task("", name, 1, "type", **of_task), enqueue=True))


def only(demand: Demand) -> ClassDemand:
    assert len(demand.classes) == 1, demand
    return demand.classes[0]


def test_an_empty_fleet_with_an_empty_queue_needs_nothing() -> None:
    demand = look(Rig())
    assert (demand.classes, demand.needed, demand.present) == ((), 0, 0)


def test_what_runs_needs_its_slots_and_no_more() -> None:
    rig = Rig()
    rig.connect("w1", slots=4)
    rig.place()
    demand = look(rig)
    assert (demand.needed, demand.present, demand.used) == (1, 4, 1)
    assert demand.named["any"] == (0, 0.0, 4, 1, 1)


@pytest.mark.parametrize(
    ("target_s", "more"),
    [
        (1e-6, 10),  # nobody is to wait: one each
        (5.0, 5),  # a slot begins two of 5 s each within 5 s: one at once, one after the first
        (20.0, 2),
        (45.0, 1),
        (44.9, 2),  # 50 / 49.9 is just above one
    ],
)
def test_waiting_work_needs_the_slots_that_begin_it_within_the_target(target_s: float, more: int) -> None:
    rig = Rig()
    rig.connect("w1", slots=2)
    wait(rig, *(f"t{number}" for number in range(12)))
    demand = only(look(rig, target_s))
    assert (demand.waiting, demand.work_s, demand.present, demand.used) == (10, 10 * WORK_S, 2, 2)
    assert demand.needed == 2 + more


def test_a_spread_of_durations_makes_the_work_longer_by_its_p90() -> None:
    plain, spread = Sum(frozenset()), Sum(frozenset())
    for _ in range(16):
        plain.add(4.0, 4.0)
        spread.add(2.0, 4.0)  # log-normal: the variance is mean^2 * ((mean/P50)^2 - 1)
    assert plain.more_slots(4.0) == pytest.approx(64.0 / 8.0)
    assert spread.more_slots(4.0) == pytest.approx((64.0 + 1.28155 * sqrt(16 * 16.0 * 3.0)) / 8.0, rel=1e-4)
    assert spread.more_slots(1e-9) == 16.0, "never more than one each"


@pytest.mark.parametrize("note", [False, True])
def test_sums_are_those_of_the_tasks_one_by_one_however_they_come_and_go(note: bool) -> None:
    rig = Rig(CoreSettings(queue=QueueSettings(order="shortest", tenant_share=1.0)))
    chance = Random(7)
    for number in range(900):
        needs = tuple(sorted(chance.sample(("a", "b", "c"), chance.randrange(3))))
        rig.give(Submit(Task("", f"t{number}", 1, f"type-{number % 5}", required=needs), enqueue=True))
        if chance.random() < 0.4:
            rig.cancel(chance.choice(list(rig.core.queue.waiting.by_task))[1])
    plain: dict[tuple[str, ...], Sum] = {}
    for waiter in rig.core.queue.waiting.by_task.values():
        needs = waiter.event.task.required
        plain.setdefault(needs, Sum(frozenset(needs))).add(waiter.p50_s, waiter.work_s)
    found = {each.required: each for each in look(rig, 30.0, note=note).classes}
    assert found.keys() == plain.keys()
    for needs, each in found.items():
        assert each.waiting == plain[needs].count
        assert each.work_s == pytest.approx(plain[needs].work_s)
        assert each.needed == pytest.approx(plain[needs].more_slots(30.0), abs=1.0)


def test_nobody_present_is_a_need_all_the_same() -> None:
    rig = Rig()
    wait(rig, "t1", "t2", required=("gpu",))
    demand = only(look(rig, 60.0))
    assert (demand.required, demand.present, demand.needed, demand.last_start) == (("gpu",), 0, 1, None)


def test_classes_are_told_apart_by_capabilities_and_labels_and_the_greatest_need_comes_first() -> None:
    rig = Rig()
    rig.connect("w1", slots=1, capabilities=("gpu",), labels=(("zone", "a"),))
    wait(rig, "t1", "t2")
    wait(rig, "g1", "g2", "g3", required=("gpu",))
    wait(rig, "z1", labels=(("zone", "a"),))
    demand = look(rig, 1e-6)
    told = [(each.required, each.labels, each.waiting, each.needed) for each in demand.classes]
    assert told == [(("gpu",), (), 3, 4), ((), (), 1, 2), ((), (("zone", "a"),), 1, 2)]
    assert demand.needed == 1 + 3 + 1 + 1, "the slot in use is one, whoever counts it"


def test_workers_that_may_not_be_given_tasks_are_not_present() -> None:
    rig = Rig()
    rig.connect("here", slots=2)
    rig.connect("drains", slots=3)
    rig.beat("drains", intent=Intent.DRAIN)
    rig.connect("gone", slots=5)
    rig.disconnect("gone")
    rig.connect("silent", slots=7)
    rig.go(20)
    for name in ("here", "drains"):
        rig.beat(name, intent=Intent.DRAIN if name == "drains" else Intent.WORK)
    rig.tick_for(15)
    assert look(rig).present == 2


def test_what_slots_would_not_help_is_left_out() -> None:
    rig = Rig()
    rig.connect("w1", slots=1)
    rig.place(task_type="capped")
    wait(rig, "later", not_before=rig.now.wall + 100.0)
    wait(rig, "plain")
    rig.give(Submit(Task("acme", "paused", 1, "type"), enqueue=True))
    rig.give(Ordered(About(OrderKind.PAUSE, "", "acme"), StandingOrder(rig.now.wall)))
    rig.give(Submit(Task("", "held", 1, "capped"), enqueue=True))
    rig.give(CreateOverride(Override("cap", None, "capped", "", Action.CAP, most=1), 2))
    rig.tick_for(0.1)
    assert sum(each.waiting for each in look(rig).classes) == 1


def test_what_is_staged_on_a_worker_waits_too() -> None:
    rig = Rig()
    registration = Registration(slots=1, accepts_tasks=True, prefetch=2)
    rig.connect("w1", registration=registration, sample=make_sample(running=()))
    leases = [rig.place(delivery=Delivery.STREAM).lease_id for _ in range(3)]
    reports = [LeaseReport(lease, ReportKind.ACKNOWLEDGED) for lease in leases]
    reports.append(LeaseReport(leases[0], ReportKind.STARTED))
    running = tuple(RunningLease(lease, 0.0 if lease == leases[0] else None) for lease in leases)
    rig.beat("w1", reports=tuple(reports), running=running, queue_depth=3)
    demand = only(look(rig, 1e-6))
    assert (demand.waiting, demand.work_s, demand.present, demand.used, demand.needed) == (2, 10.0, 1, 1, 3)


def test_idle_classes_are_listed_where_they_are_asked_for() -> None:
    rig = Rig()
    rig.connect("w1", slots=4, capabilities=("gpu",))
    rig.place(required=("gpu",))
    assert look(rig).classes == ()
    told = {each.required: each for each in look(rig, idle=True).classes}
    assert told[("gpu",)] == (("gpu",), (), 0, 0.0, 4, 1, 1, None)
    assert set(told) <= {(), ("gpu",)}


def test_the_last_start_is_the_one_that_the_last_task_is_told() -> None:
    rig = Rig()
    rig.connect("w1", slots=1)
    wait(rig, "t1", "t2", "t3")
    last = rig.core.queue.waiting.by_task["", "t3"]
    told = rig.core.queue.prospects(rig.now, last)
    assert only(look(rig)).last_start == told.start_p50
    assert told.start_p50 is not None


# ---------------------------------------------------------------------- names


NAMED = DemandSettings(classes={"gpu": ("gpu",), "cuda": ("cuda", "gpu"), "arm": ("arm",)})


@pytest.mark.parametrize(
    ("required", "labelled", "name"),
    [
        ((), False, "any"),
        ((), True, "other"),
        (("gpu",), False, "gpu"),
        (("gpu",), True, "gpu"),
        (("cuda", "gpu"), False, "cuda"),
        (("cuda", "gpu", "x"), False, "cuda"),
        (("cuda",), False, "other"),
        (("arm", "gpu"), False, "gpu"),  # one of its capabilities each: the later name
        (("x",), False, "other"),
    ],
)
def test_a_task_counts_under_the_name_with_most_of_its_capabilities(
    required: tuple[str, ...], labelled: bool, name: str
) -> None:
    assert NAMED.name_of(required, labelled=labelled) == name


def test_every_name_is_told_whether_anything_waits_or_not() -> None:
    rig = Rig()
    rig.connect("w1", slots=2, capabilities=("gpu",))
    wait(rig, "t1", "t2", "t3", required=("gpu", "x"))
    wait(rig, "t4", required=("x",))
    named = look(rig, 1e-6, settings=NAMED).named
    assert list(named) == ["any", "gpu", "cuda", "arm", "other"]
    assert (named["gpu"].waiting, named["gpu"].present, named["gpu"].needed) == (3, 2, 3)
    assert (named["other"].waiting, named["other"].present, named["other"].needed) == (1, 0, 1)
    assert (named["any"].waiting, named["any"].present, named["arm"].present) == (0, 2, 0)


@pytest.mark.parametrize(
    "classes",
    [{"GPU": ("gpu",)}, {"any": ("gpu",)}, {"other": ("x",)}, {"gpu": ()}, {f"c{at}": ("x",) for at in range(9)}],
)
def test_names_that_cannot_be_labels_are_refused(classes: dict[str, tuple[str, ...]]) -> None:
    assert [field for field, _ in DemandSettings(classes=classes).faults()] == ["classes"]


def test_eight_names_are_allowed() -> None:
    assert not list(DemandSettings(classes={f"c{at}": ("x",) for at in range(8)}).faults())


# ---------------------------------------------------------------------- the load


def at(second: float) -> Now:
    return Now(second, second)


def test_waiting_work_that_grows_is_load_and_what_shrinks_takes_away() -> None:
    trends = Trends()
    for second in range(0, 200, 5):  # 10 slots in use, and the backlog grows by 20 slot-seconds a second
        trends.note(at(second), "x", 20.0 * second, 10, smooth_s=10.0)
        trends.turn()
    assert trends.load("x", 10) == pytest.approx(30.0, abs=0.1)
    for second in range(200, 400, 5):  # 40 in use, and it is worked off by 10 a second
        trends.note(at(second), "x", 4_000.0 - 10.0 * (second - 195), 40, smooth_s=10.0)
        trends.turn()
    assert trends.load("x", 40) == pytest.approx(30.0, abs=0.1)


def test_a_load_that_ends_fades_with_the_memory_that_is_set() -> None:
    trends = Trends()
    trends.note(at(0.0), "x", 0.0, 10, smooth_s=30.0)
    trends.turn()
    trends.note(at(30.0), "x", 0.0, 0, smooth_s=30.0)
    trends.turn()
    assert trends.load("x", 0) == pytest.approx(10.0 / 2.71828, abs=0.01)


def test_what_was_not_seen_in_the_last_look_is_forgotten() -> None:
    trends = Trends()
    trends.note(at(0.0), "x", 0.0, 10, smooth_s=30.0)
    trends.turn()
    trends.turn()
    assert trends.load("x", 3) == 3.0


def test_never_fewer_than_are_in_use() -> None:
    rig = Rig()
    rig.connect("w1", slots=8)
    trends = Trends()
    look(rig, trends=trends, note=True)
    for _ in range(8):
        rig.place()
    rig.go(1.0)
    assert look(rig, trends=trends, note=True).needed == 8


def test_a_look_that_does_not_note_leaves_the_trends_alone() -> None:
    rig = Rig()
    rig.connect("w1", slots=8)
    rig.place()
    trends = Trends()
    look(rig, trends=trends, note=True)
    rig.go(10.0)
    for _ in range(7):
        rig.place()
    assert look(rig, trends=trends).needed == 8
    assert trends.load(None, 0) == 1.0


# ---------------------------------------------------------------------- followed


TRIPLED = (Phase(300.0, 16.0), Phase(400.0, 48.0), Phase(300.0, 16.0))


def test_a_fleet_that_follows_the_signal_holds_the_target_wait_through_a_tripling_of_load() -> None:
    run = Autoscaled(TRIPLED, wait_s=60.0, start_s=30.0, seed=1)
    before, tripled, after = run.run()
    for figures in (before, tripled, after):
        assert figures.p95_s <= 60.0, figures
        assert figures.within >= 0.99, figures
    assert tripled.mean_slots < 1.7 * tripled.mean_load, "it is held by the right slots, not by any number of them"
    assert run.trace[-1][2] < max(slots for _, _, slots, _ in run.trace) / 2, "and they go when they are not needed"


def test_without_the_signal_the_same_load_waits_far_beyond_it() -> None:
    _, tripled, _ = Autoscaled(TRIPLED, wait_s=60.0, start_s=30.0, seed=1, follows=False).run()
    assert tripled.within < 0.5
    assert tripled.p95_s > 120.0
    assert ceil(tripled.mean_slots) < tripled.mean_load
