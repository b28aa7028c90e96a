"""Shifts in the core: the clock that is set, everybody at once, who has time, when what waits will start."""

from dataclasses import replace
from datetime import UTC, datetime
from math import inf
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler_server.assignment.dry_run import DryRun
from scheduler_server.assignment.effects import AskBack, Granted, HandOver, Recall, Reply, Stands
from scheduler_server.assignment.events import Configured, Connect, Event, Ordered, Submit, Tick
from scheduler_server.assignment.recording import event_line, read_line
from scheduler_server.assignment.settings import CoreSettings
from scheduler_server.assignment.standing import order_to_bytes, restore_order
from scheduler_server.assignment.stretching import Filling
from scheduler_server.model.calendar import UTC as UTC_ZONE
from scheduler_server.model.calendar import Absence, Calendar, WorkingHours, Zone
from scheduler_server.model.clock import Now
from scheduler_server.model.decision import Decision, Rejection
from scheduler_server.model.fleet_event import FleetEventKind
from scheduler_server.model.prediction import Prediction
from scheduler_server.model.refusal import Reason, Refusal
from scheduler_server.model.standing import About, OrderKind, StandingOrder
from scheduler_server.model.task import BlockingReason, Delivery, Task, TaskState
from scheduler_server.model.worker import LeaseReport, Registration, ReportKind
from scheduler_server.predictor.ema import EmaPredictor
from scheduler_server.predictor.published import PublishedPredictor
from scheduler_server.registry.agenda import Turns
from scheduler_server.registry.settings import WorkerSettings
from tests.unit.assignment.rig import WALL_S, Rig, make_sample

EVERY_DAY = (1, 2, 3, 4, 5, 6, 7)
MIDNIGHT_S = WALL_S - WALL_S % 86_400  # WALL_S is 22:13:20 UTC on Tuesday, 14 November 2023
HOUR_S = 3_600.0


def daily(start: float, end: float, *absences: Absence, slots: int | None = None) -> Calendar:
    """Hours of every day, as hours after midnight, in UTC."""
    hours = WorkingHours(EVERY_DAY, round(start * 60), round(end * 60), slots)
    return Calendar(UTC_ZONE, (hours,), absences)


EVENING = daily(22, 23)
DAYTIME = daily(9, 17)


class ShiftRig(Rig):
    """Its wall clock can be set. Predictions are told, by task type and milliseconds."""

    def __init__(self, within: str = "start", predictions: dict[str, float] | None = None, **worker: Any) -> None:
        self.set_by = 0.0
        chosen = CoreSettings()
        worker.setdefault("probe_interval_s", None)
        chosen = replace(
            chosen,
            worker=WorkerSettings(within_shift=within, **worker),
            health=replace(chosen.health, healthy_within_s=1e6, unhealthy_after_s=1e6, remove_after_s=1e6),
            predictor=replace(chosen.predictor, type_defaults_ms=predictions or {}),
        )
        super().__init__(chosen, predictor=PublishedPredictor("table", EmaPredictor(chosen.predictor)))

    @property
    def now(self) -> Now:
        monotonic, wall = super().now
        return Now(monotonic, wall + self.set_by)

    def at(self, hour: float, day: int = 0) -> None:
        """Let time pass until this hour, tick by tick."""
        self.tick_for(MIDNIGHT_S + day * 86_400 + hour * HOUR_S - self.now.wall)

    def worker_with(self, worker_id: str, calendar: Calendar | None, slots: int = 1, **more: Any) -> None:
        more.setdefault("reports_outcomes", True)
        self.connect(worker_id, registration=Registration(slots=slots, calendar=calendar, **more))

    def enqueue(self, task_id: str, task_type: str = "type", **more: Any) -> Reply:
        self.give(Submit(Task("", task_id, 1, task_type), enqueue=True, **more))
        return self.one(Reply)

    def granted(self) -> list[str]:
        return [each.record.task.task_id for each in self.find(Granted)]


# ---------------------------------------------------------------------- the clock


def test_a_clock_that_is_set_forward_is_noticed_at_the_next_tick() -> None:
    rig = ShiftRig()
    rig.worker_with("w1", EVENING)
    assert rig.place("t1").worker_id == "w1"
    rig.end(rig.worker().leases.copy().popitem()[0])
    rig.set_by += 2 * HOUR_S
    rig.tick_for(1.0)
    assert rig.worker().off_shift
    assert rig.refuse("t2").rejections == ((Rejection.OFF_SHIFT, 1),)


def test_a_clock_that_is_set_back_is_noticed_at_the_next_tick() -> None:
    rig = ShiftRig()
    rig.worker_with("w1", EVENING)
    rig.worker_with("w2", Calendar(UTC_ZONE, (), (Absence(WALL_S - 60.0, WALL_S - 30.0),)))
    rig.set_by -= 45.0
    rig.tick_for(1.0)
    assert (rig.worker("w1").off_shift, rig.worker("w2").off_shift) == (False, True)
    rig.set_by -= HOUR_S
    rig.tick_for(1.0)
    assert (rig.worker("w1").off_shift, rig.worker("w2").off_shift) == (True, False)
    rig.tick_for(HOUR_S)
    assert (rig.worker("w1").off_shift, rig.worker("w2").off_shift) == (False, True)


def test_a_shift_begins_and_ends_to_the_millisecond() -> None:
    rig = ShiftRig()
    rig.worker_with("w1", daily(22.5, 22.75))
    seen = []
    while rig.now.wall < MIDNIGHT_S + 23 * HOUR_S:
        rig.t = rig.core.next_deadline()
        rig.give(Tick())
        turns = {FleetEventKind.WORKER_ON_SHIFT, FleetEventKind.WORKER_OFF_SHIFT}.intersection(rig.events())
        seen += [(kind, rig.now.wall - MIDNIGHT_S) for kind in turns]
    assert [kind.name for kind, _ in seen] == ["WORKER_ON_SHIFT", "WORKER_OFF_SHIFT"]
    for (_, at), due in zip(seen, (22.5, 22.75), strict=True):
        assert 0.0 <= at - due * HOUR_S < 0.01


# ---------------------------------------------------------------------- everybody at once


def test_everybody_leaves_in_slices_and_is_gone_when_the_shift_ends() -> None:
    rig = ShiftRig()
    ends = MIDNIGHT_S + 23 * HOUR_S
    for number in range(300):
        rig.worker_with(f"w{number:03}", EVENING)
    rig.worker_with("comes", daily(23, 24))
    steps = []
    while (due := rig.core.next_deadline()) < rig.t + ends - rig.now.wall:
        rig.t = due
        rig.give(Tick())
        gone = rig.events().count(FleetEventKind.WORKER_OFF_SHIFT)
        assert not gone or ends - rig.now.wall < 0.05
        steps.append(gone)
        assert FleetEventKind.WORKER_ON_SHIFT not in rig.events()
    assert 300 - 32 <= sum(steps) < 300  # the others at the instant itself
    rig.t += ends - rig.now.wall + 1e-6  # a clock told in seconds since 1970 has steps of 0.2 us
    assert rig.submit("t1").decision is None
    late = rig.events().count(FleetEventKind.WORKER_OFF_SHIFT)
    rig.tick_for(0.001)
    assert sum(steps) + late + rig.events().count(FleetEventKind.WORKER_OFF_SHIFT) == 300
    assert rig.place("t2").worker_id == "comes"
    assert max(steps) <= 16


def test_who_is_late_is_given_nothing() -> None:
    rig = ShiftRig()
    for number in range(300):
        rig.worker_with(f"w{number:03}", EVENING)
    rig.set_by += HOUR_S  # set forward: nobody could be let go before
    rig.tick_for(1.0)
    for number in range(20):
        assert rig.submit(f"t{number}").decision is None


def test_a_beat_of_somebody_who_is_late_does_not_make_it_a_candidate() -> None:
    rig = ShiftRig()
    for number in range(100):
        rig.worker_with(f"w{number:03}", EVENING)
    rig.enqueue("first")
    rig.t += MIDNIGHT_S + 23 * HOUR_S - rig.now.wall
    rig.enqueue("t")
    rig.beat("w099")
    assert rig.worker("w099").off_shift
    assert rig.granted() == []


def test_everybody_comes_in_slices_and_what_waits_is_placed() -> None:
    rig = ShiftRig()
    for number in range(100):
        rig.worker_with(f"w{number:03}", daily(23, 24))
    for number in range(200):
        rig.enqueue(f"t{number}")
    rig.t += MIDNIGHT_S + 23 * HOUR_S - rig.now.wall
    steps = []
    while rig.core.next_deadline() <= rig.t:
        rig.give(Tick())
        steps.append(len(rig.find(Granted)))
    assert sum(steps) == 100
    assert max(steps) <= 32
    assert rig.core.queue.waiting.placeable == 100


# ---------------------------------------------------------------------- who has time


def test_a_task_goes_to_whom_it_will_end_with() -> None:
    rig = ShiftRig("end", {"long": 2 * HOUR_S * 1e3, "short": 60e3})
    rig.worker_with("leaves", EVENING)
    assert rig.refuse("t1", task_type="long").reason is Reason.NO_ELIGIBLE_WORKER_NOW
    assert rig.refuse("t2", task_type="long").rejections == ((Rejection.OFF_SHIFT, 1),)
    assert rig.place("t3", task_type="short").worker_id == "leaves"
    rig.worker_with("stays", daily(22, 3))
    assert rig.place("t4", task_type="long").worker_id == "stays"
    rig.worker_with("always", None)
    assert rig.place("t5", task_type="long").worker_id == "always"


def test_by_default_only_its_start_has_to_be_within_the_shift() -> None:
    rig = ShiftRig(predictions={"long": 2 * HOUR_S * 1e3})
    rig.worker_with("leaves", EVENING)
    assert rig.place("t1", task_type="long").worker_id == "leaves"


def test_it_may_end_exactly_with_the_shift_and_no_later() -> None:
    left_s = MIDNIGHT_S + 23 * HOUR_S - WALL_S
    rig = ShiftRig("end", {"fits": left_s * 1e3, "not": left_s * 1e3 + 1.0})
    rig.worker_with("w1", EVENING, slots=2)
    assert rig.place("t1", task_type="fits")
    assert rig.refuse("t2", task_type="not")


def test_by_p90_it_has_to_be_likely() -> None:
    left_s = MIDNIGHT_S + 23 * HOUR_S - WALL_S
    for within, placed in (("end", True), ("end_p90", False)):
        rig = ShiftRig(within)
        made = Prediction(1e3, 1e3, left_s * 1e3 - 1.0, left_s * 1e3 + 1.0, 0.5, 9, "type=x", "table", rig.t)
        rig.core.predictor.publish((("x", made),))  # type: ignore[attr-defined] # ShiftRig has such a predictor
        rig.worker_with("w1", EVENING)
        assert (rig.submit("t", task_type="x").decision is not None) is placed


def test_a_prediction_that_fails_keeps_nobody_out() -> None:
    rig = ShiftRig("end")
    rig.core.predictor.publish((("x", Prediction(-1.0, 1.0, 1.0, 1.0, 0.5, 9, "type=x", "table", rig.t)),))  # type: ignore[attr-defined]
    rig.worker_with("w1", EVENING)
    assert rig.place("t", task_type="x").worker_id == "w1"


def test_a_long_task_that_nobody_has_time_for_does_not_hold_up_a_short_one() -> None:
    rig = ShiftRig("end", {"long": 2 * HOUR_S * 1e3, "short": 60e3})
    rig.worker_with("w1", daily(22, 23), slots=1)
    first = rig.place("runs", task_type="short")
    rig.enqueue("long", "long")
    assert rig.enqueue("short", "short").waiting is not None
    rig.end(first.lease_id)
    assert rig.granted() == ["short"]
    rig.end(rig.find(Granted)[0].record.lease_id)
    told = rig.core.queue.prospects(rig.now, rig.core.queue.waiting.by_task["", "long"])
    assert told.blocking is BlockingReason.NO_ELIGIBLE_WORKER_NOW
    assert told.detail == "the shifts of those who are free end before it would"


def test_the_setting_holds_from_the_moment_that_it_is_changed() -> None:
    rig = ShiftRig("end", {"long": 2 * HOUR_S * 1e3})
    rig.worker_with("w1", EVENING)
    rig.enqueue("t", "long")
    settings_ = replace(rig.settings, worker=replace(rig.settings.worker, within_shift="start"))
    rig.give(Configured(settings_, 2))
    rig.tick_for(1.0)
    assert rig.core.task("", "t", 1) is not None
    rig.give(Configured(rig.settings, 3))
    assert rig.refuse("t2", task_type="long")


@settings(max_examples=60, deadline=None)
@given(
    ends=st.lists(st.one_of(st.none(), st.integers(1, 90)), min_size=1, max_size=30),
    loads=st.lists(st.integers(0, 9), min_size=30, max_size=30),
    groups=st.lists(st.integers(-4, 4), min_size=30, max_size=30),
    minutes=st.integers(1, 100),
)
def test_the_best_of_those_who_stay_is_found_however_many_leave(
    ends: list[int | None], loads: list[int], groups: list[int], minutes: int
) -> None:
    rig = ShiftRig("end", {"x": minutes * 60e3})
    rig.set_by = MIDNIGHT_S - WALL_S  # midnight: hours are plain
    for number, end in enumerate(ends):
        rig.worker_with(f"w{number:02}", None if end is None else daily(0, end / 60))
        record = rig.worker(f"w{number:02}")
        rig.beat(record.worker_id, cpu=loads[number] / 10, memory=loads[number] / 10)
        record.speed = 2.0 ** (groups[number] / 2)
        rig.core.fleet.agenda.learn_speed(record)
    staying = [
        (record.load, record.worker_id)
        for record, end in zip(rig.core.fleet.records.values(), ends, strict=True)
        if end is None or minutes / record.speed <= end
    ]
    reply = rig.submit("t", task_type="x")
    if not staying:
        assert reply.decision is None
        return
    assert reply.decision is not None
    chosen = reply.decision.worker_id
    assert chosen in [worker_id for _, worker_id in staying]
    assert rig.worker(chosen).load == min(load for load, _ in staying)
    assert all(record.status is Rejection.CANDIDATE for record in rig.core.fleet.records.values() if not record.leases)


# ---------------------------------------------------------------------- when what waits will start


def test_work_that_does_not_fit_into_today_is_expected_tomorrow() -> None:
    rig = ShiftRig(predictions={"hour": HOUR_S * 1e3})
    rig.worker_with("w1", DAYTIME)
    starts = []
    for number in range(12):
        waiting = rig.enqueue(f"t{number}", "hour").waiting
        assert waiting is not None
        assert waiting.start_p50 is not None
        starts.append((waiting.start_p50 - MIDNIGHT_S) / HOUR_S)
    assert starts[:8] == pytest.approx([24 + 9 + number for number in range(8)])  # 14 November is over
    assert starts[9:] == pytest.approx([48 + 9 + number for number in range(1, 4)])


def test_an_absence_is_waited_for() -> None:
    rig = ShiftRig()
    rig.worker_with("w1", daily(9, 17, Absence(MIDNIGHT_S, MIDNIGHT_S + 20.5 * 86_400.0)))
    waiting = rig.enqueue("t").waiting
    assert waiting is not None
    assert waiting.start_p50 == MIDNIGHT_S + 20 * 86_400.0 + 12 * HOUR_S


def test_nobody_is_named_who_will_not_come() -> None:
    rig = ShiftRig()
    rig.worker_with("gone", daily(9, 10))
    rig.worker_with("next", DAYTIME)
    rig.give(Ordered(About(OrderKind.CORDON, "gone"), StandingOrder(WALL_S)))
    refusal = rig.refuse("t1")
    assert dict(refusal.metadata)["next_worker"] == "next"
    refusal = rig.refuse("t2", excluded=("next",))
    assert refusal.reason is Reason.NO_ELIGIBLE_WORKER_NOW
    assert "next_worker" not in dict(refusal.metadata)
    rig.disconnect("next")
    assert "next_worker" not in dict(rig.refuse("t3").metadata)


@settings(max_examples=100, deadline=None)
@given(
    turns=st.lists(st.tuples(st.integers(1, 50), st.integers(-3, 3)), max_size=8),
    slots=st.integers(0, 4),
    work=st.integers(0, 200),
)
def test_work_is_filled_into_slots_as_they_come_and_go(turns: list[tuple[int, int]], slots: int, work: int) -> None:
    at: list[float] = []
    change: list[float] = []
    there = slots
    for when, wanted in sorted(turns):
        more = max(-there, wanted)
        there += more
        at.append(float(when))
        change.append(float(more))
    told = Turns(np.array(at), np.array(change), inf)
    left, second, there = float(work), 0, slots
    plain = inf
    while second <= 400:  # one second after the other
        there += round(sum(more for when, more in zip(at, change, strict=True) if when == second))
        if there and left <= there:
            plain = second + left / there
            break
        left -= there
        second += 1
    filling = Filling(told, float(slots), 0.0)
    assert filling.at(float(work)) == pytest.approx(plain)
    assert filling.usual() >= 0.0


def test_beyond_what_is_known_there_are_as_many_slots_as_there_were_on_average() -> None:
    told = Turns(np.array([10.0, 20.0, 30.0, 40.0]), np.array([1.0, -1.0, 1.0, -1.0]), 40.0)
    filling = Filling(told, 0.0, 0.0)
    assert filling.usual() == 1.0
    assert [filling.at(work) for work in (0.0, 10.0, 15.0, 20.0)] == [10.0, 20.0, 35.0, 40.0]
    assert filling.at(30.0) == pytest.approx(40.0 + 10.0 / 0.5)


# ---------------------------------------------------------------------- what people hold


def person(rig: ShiftRig, worker_id: str, calendar: Calendar | None = None, slots: int = 1) -> None:
    rig.worker_with(worker_id, calendar, slots, accepts_tasks=True, accept_within_s=600.0)


def test_an_offer_that_lapses_counts_as_declined() -> None:
    rig = ShiftRig()
    person(rig, "ann")
    rig.give(Submit(Task("", "t", 1, "type", max_attempts=2), Delivery.STREAM, enqueue=True))
    assert rig.one(HandOver).ack_within_s == 600.0
    out = rig.tick_for(600.0)
    assert [each.reason for each in out if isinstance(each, Recall)] == ["it was not accepted within 600 s"]
    assert rig.worker("ann").session is not None
    assert rig.core.shifts.lapsed == 1
    waiter = rig.core.queue.waiting.by_task["", "t"]
    assert waiter.event.trail.avoid == ("ann",)
    rig.tick_for(30.0)  # assignment.avoid_decliner_s: then it goes to her again
    assert rig.core.task("", "t", 2) is not None
    rig.tick_for(600.0)
    ended = rig.core.task("", "t", 2)
    assert ended is not None
    assert ended.state is TaskState.SET_ASIDE


def test_an_offer_that_is_accepted_in_time_does_not_lapse() -> None:
    rig = ShiftRig()
    person(rig, "ann")
    lease = rig.place("t", delivery=Delivery.STREAM).lease_id
    rig.tick_for(599.0)
    rig.beat("ann", reports=(LeaseReport(lease, ReportKind.ACKNOWLEDGED),), queue_depth=1)
    rig.tick_for(1_000.0)
    record = rig.core.task("", "t", 1)
    assert record is not None
    assert record.live


def test_a_machine_is_asked_once_per_session_for_what_it_has_not_started() -> None:
    rig = ShiftRig()
    rig.worker_with("w1", daily(22, 22.5), accepts_tasks=True, prefetch=1)
    first, second = (rig.place(name, delivery=Delivery.STREAM).lease_id for name in ("a", "b"))
    acknowledged = (LeaseReport(first, ReportKind.STARTED), LeaseReport(second, ReportKind.ACKNOWLEDGED))
    rig.beat("w1", reports=acknowledged, queue_depth=2)
    rig.at(22.5)
    asked = [each for each in rig.out if isinstance(each, AskBack)]
    assert [(each.lease_id, each.reason) for each in asked] == [(second, "the shift is over")]
    rig.beat("w1", queue_depth=2)
    assert not rig.find(AskBack)
    rig.disconnect("w1")
    rig.connect("w1", registration=rig.worker("w1").registration, sample=make_sample(queue_depth=2))
    assert [each.lease_id for each in rig.find(AskBack)] == [second]
    rig.beat("w1", reports=(LeaseReport(second, ReportKind.RETURNED),), queue_depth=1)
    waiter = rig.core.queue.waiting.by_task["", "b"]
    assert (waiter.event.trail.losses, waiter.event.trail.avoid) == (0, ())


# ---------------------------------------------------------------------- kept, replayed, recycled

FULL = Calendar(
    Zone("Europe/Berlin", (0, 100), (3_600, 7_200)), (WorkingHours((1, 7), 0, 1_440, 2),), (Absence(1.5, 2.5, "why"),)
)


@pytest.mark.parametrize(
    "event",
    [
        Ordered(About(OrderKind.CALENDAR, "w1"), StandingOrder(1.0, None, "ann", "why", FULL)),
        Connect(1, "w1", None, Registration(slots=2, calendar=FULL, accept_within_s=9.5), make_sample()),
    ],
)
def test_calendars_can_be_replayed(event: Event) -> None:
    assert read_line(event_line(Now(1.0, 2.0), event, [])) == (Now(1.0, 2.0), event, [])


def test_an_operators_hours_come_back_with_the_rules_of_their_zone_as_they_are_then() -> None:
    rig = ShiftRig()
    order = StandingOrder(WALL_S, calendar=EVENING)
    rig.give(Ordered(About(OrderKind.CALENDAR, "w1"), order))
    kept = rig.one(Stands)
    later = ShiftRig()
    renewed = Zone("UTC", (0,), (3_600,))
    body = order_to_bytes(kept.about, kept.order or order)
    restore_order(later.core, later.now, body, lambda calendar, _: calendar._replace(zone=renewed))
    later.worker_with("w1", None)
    assert later.worker().timetable is not None
    assert later.worker().timetable.calendar == EVENING._replace(zone=renewed)  # type: ignore[union-attr]
    assert later.worker().off_shift


def test_a_row_that_is_used_again_has_nothing_of_its_former_worker() -> None:
    rig = ShiftRig()
    for number in range(70):  # more than a first block of columns
        rig.worker_with(f"w{number}", EVENING)
    for number in range(70):
        rig.remove(f"w{number}")
    for number in range(80):
        rig.worker_with(f"v{number}", None)
    rig.tick_for(3 * HOUR_S)
    assert len(rig.core.shifts.scheduled) == 0
    assert all(record.status is Rejection.CANDIDATE for record in rig.core.fleet.records.values())
    assert not len(rig.core.fleet.agenda.overdue(1e18))


def test_the_clock_of_these_tests_is_what_they_say() -> None:
    assert datetime.fromtimestamp(WALL_S, UTC).isoformat() == "2023-11-14T22:13:20+00:00"


def test_a_dry_run_tells_what_would_be_answered_where_shifts_are_too_short() -> None:
    rig = ShiftRig("end", {"long": 2 * HOUR_S * 1e3})
    rig.worker_with("leaves", EVENING)
    event = Submit(Task("", "t", 1, "long"))
    told = DryRun(rig.core, event, rig.watch).decide(rig.now, 5)
    assert isinstance(told, Refusal)
    assert told.rejections == ((Rejection.OFF_SHIFT, 1),)
    rig.worker_with("stays", None)
    rig.beat("stays", cpu=0.5)
    told = DryRun(rig.core, event, rig.watch).decide(rig.now, 5)
    assert isinstance(told, Decision)
    assert told.worker_id == rig.place("t", task_type="long").worker_id == "stays"
