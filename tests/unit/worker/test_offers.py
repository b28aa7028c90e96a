"""Offers: tasks that somebody decides about before the server hears that they are taken."""

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest

from scheduler_api.v1.task_pb2 import Task
from scheduler_api.v1.worker_pb2 import RunTask
from scheduler_server.worker import EVERY_DAY, Absence, Calendar, Hours, Offer, Worker
from scheduler_server.worker.profile import Profile
from scheduler_server.worker.running import Leases
from scheduler_server.worker.session import Session
from scheduler_server.worker.work import Work

# ---------------------------------------------------------------------- decided


def a_desk(slots: int = 1) -> Work:
    return Work(Leases(slots), lambda task_type: task_type == "review", asks=True)


def offered(work: Work, lease_id: str = "l1", task_type: str = "review") -> None:
    work.hand_over(RunTask(lease_id=lease_id, task=Task(task_id="t", task_type=task_type)), 0.0)


def said(work: Work) -> list[tuple[str, str]]:
    return [(report.lease_id, str(report.WhichOneof("fact"))) for report in work.outbox.take(1)]


def test_an_offer_is_told_of_once_and_nothing_is_said_until_somebody_has_decided() -> None:
    work = a_desk()
    offered(work)
    offered(work)
    assert [lease.lease_id for lease in work.take_effects().offer] == ["l1"]
    assert said(work) == []
    assert len(work.leases) == 0


def test_what_is_accepted_is_acknowledged_and_started() -> None:
    work = a_desk()
    offered(work)
    work.take_effects()
    assert work.accept("l1", 5.0)
    assert said(work) == [("l1", "acknowledged"), ("l1", "started")]
    assert [lease.lease_id for lease in work.take_effects().start] == ["l1"]
    assert not work.accept("l1", 6.0)


def test_what_is_declined_says_why() -> None:
    work = a_desk()
    offered(work)
    assert work.decline_offer("l1", "not my field")
    (report,) = work.outbox.take(1)
    assert report.declined.reason == "not my field"
    assert not work.decline_offer("l1", "again")
    assert not work.accept("l1", 1.0)


def test_what_has_lapsed_is_withdrawn_and_nothing_is_said() -> None:
    work = a_desk()
    offered(work)
    (lease,) = work.take_effects().offer
    work.cancel("l1", 1.0)
    assert lease.cancelled.is_set()
    assert not work.accept("l1", 2.0)
    assert said(work) == []


def test_a_drain_gives_offers_back() -> None:
    work = a_desk()
    offered(work)
    work.drain()
    assert said(work) == [("l1", "returned")]
    assert not work.accept("l1", 1.0)


def test_another_stream_withdraws_what_was_offered_on_the_one_before() -> None:
    work = a_desk()
    offered(work)
    (lease,) = work.take_effects().offer
    Session(Profile(worker_id="ann"), work, 2)
    assert lease.cancelled.is_set()
    assert said(work) == []


def test_what_nobody_could_do_is_declined_without_asking() -> None:
    work = a_desk()
    offered(work, task_type="surgery")
    assert not work.take_effects().offer
    assert said(work) == [("l1", "declined")]


class _Answers:
    def __init__(self) -> None:
        self.heard: list[tuple[str, ...]] = []

    def accept(self, lease_id: str) -> bool:
        self.heard.append((lease_id,))
        return True

    def decline(self, lease_id: str, reason: str) -> bool:
        self.heard.append((lease_id, reason))
        return False


def test_an_offer_says_what_it_is_and_carries_the_answer_on() -> None:
    work = a_desk()
    run = RunTask(lease_id="l1", task=Task(task_id="t", task_type="review", payload=b"x"))
    run.ack_within.FromSeconds(90)
    work.hand_over(run, 0.0)
    answers = _Answers()
    offer = Offer(work.take_effects().offer[0], answers)
    assert (offer.task.task_id, offer.task.payload, offer.accept_within_s) == ("t", b"x", 90.0)
    assert not offer.withdrawn.is_set()
    assert offer.accept()
    assert not offer.decline("late")
    assert answers.heard == [("l1",), ("l1", "late")]


@pytest.mark.parametrize("given", [{"accept_within": 5.0}, {"offers": lambda _: None}])
def test_who_decides_needs_a_time_and_a_time_needs_somebody(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="both or neither"):
        Worker("127.0.0.1:1", **given)


@pytest.mark.parametrize("within", [0.0, -1.0, 365 * 86_400 + 1.0])
def test_the_time_is_above_0_and_at_most_a_year(within: float) -> None:
    with pytest.raises(ValueError, match="accept_within"):
        Worker("127.0.0.1:1", accept_within=within, offers=lambda _: None)


# ---------------------------------------------------------------------- hours

NOON = datetime(2027, 1, 15, 12, tzinfo=UTC)
OFFICE = Hours(start=time(9), end=time(17))


def test_a_calendar_is_registered_as_it_is_said() -> None:
    night = Hours(days=EVERY_DAY, start=time(22), end=time(6, 30), slots=1)
    away = Absence(start=NOON, end=NOON + timedelta(days=2), reason="leave")
    profile = Profile(slots=2, calendar=Calendar(time_zone="Europe/Berlin", hours=[OFFICE, night], absences=[away]))
    told = profile.registration().calendar
    assert told.time_zone == "Europe/Berlin"
    assert [(list(each.days), each.start_minute, each.end_minute) for each in told.hours] == [
        ([1, 2, 3, 4, 5], 540, 1_020), ([1, 2, 3, 4, 5, 6, 7], 1_320, 390),
    ]  # fmt: skip
    assert [each.HasField("slots") for each in told.hours] == [False, True]
    assert (told.absences[0].start.ToSeconds(), told.absences[0].reason) == (int(NOON.timestamp()), "leave")


def test_midnight_is_the_end_of_a_day() -> None:
    made = Calendar(time_zone="UTC", hours=[replace(OFFICE, end=time(0))]).message()
    assert made.hours[0].end_minute == 1_440


def test_hours_can_be_changed_while_it_works() -> None:
    profile = Profile(slots=1)
    profile.change(calendar=Calendar(time_zone="UTC"))
    assert (profile.revision, profile.registration().calendar.time_zone) == (2, "UTC")
    with pytest.raises(ValueError, match=r"hours\[0\]\.slots: 2 is more than the 1"):
        profile.change(calendar=Calendar(time_zone="UTC", hours=[replace(OFFICE, slots=2)]))
    assert profile.calendar == Calendar(time_zone="UTC")


@pytest.mark.parametrize(
    ("calendar", "said_"),
    [
        (Calendar(time_zone=""), "time_zone"),
        (Calendar(time_zone="UTC", hours=[OFFICE] * 65), "hours: 65 of them, the limit is 64"),
        (Calendar(time_zone="UTC", hours=[replace(OFFICE, days=())]), r"hours\[0\].days"),
        (Calendar(time_zone="UTC", hours=[replace(OFFICE, days=(0, 1))]), r"hours\[0\].days"),
        (Calendar(time_zone="UTC", hours=[replace(OFFICE, days=(8,))]), r"hours\[0\].days"),
        (Calendar(time_zone="UTC", hours=[replace(OFFICE, start=time(9, 0, 1))]), "whole minutes"),
        (Calendar(time_zone="UTC", hours=[replace(OFFICE, slots=0)]), "slots: 0 is below 1"),
        (Calendar(time_zone="UTC", absences=[Absence(start=NOON, end=NOON)]), r"absences\[0\].end"),
        (Calendar(time_zone="UTC", absences=[Absence(start=NOON.replace(tzinfo=None), end=NOON)]), "with a time zone"),
        (
            Calendar(time_zone="UTC", absences=[Absence(start=NOON, end=NOON + timedelta(1), reason="x" * 257)]),
            "reason",
        ),
    ],
)
def test_what_the_server_would_refuse_is_told_at_once(calendar: Calendar, said_: str) -> None:
    with pytest.raises(ValueError, match=said_):
        Worker("127.0.0.1:1", calendar=calendar)
