"""Working hours over the wire: registered, set by an operator, shown, refused; offers that people accept, or do not."""

import asyncio
import re
from datetime import datetime, time
from pathlib import Path
from queue import SimpleQueue
from typing import Any, cast
from zoneinfo import ZoneInfo

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from scheduler_api.v1 import admin_service_pb2 as admin
from scheduler_api.v1 import admin_service_pb2_grpc, decision_pb2, task_pb2, worker_pb2
from scheduler_api.v1 import schedule_service_pb2 as api
from scheduler_server import worker as sdk
from scheduler_server.registry.settings import WorkerSettings
from scheduler_server.rpc.server import ServerSettings
from scheduler_server.settings import Settings, StorageSettings
from tests.contract.server import (
    DEADLINE_S,
    WALL_S,
    Problem,
    Running,
    Stream,
    refused,
    running,
    settings,
    span,
    task,
    until,
)

# WALL_S is Friday, 15 January 2027, 08:00 UTC: 09:00 in Berlin, 03:00 in New York.
BERLIN, NEW_YORK = "Europe/Berlin", "America/New_York"
HOUR_S = 3_600.0
WEEKDAYS = [1, 2, 3, 4, 5]


def hours(start: str, end: str, days: list[int] | None = None, **more: Any) -> worker_pb2.WorkingHours:
    first, last = (int(text[:2]) * 60 + int(text[3:]) for text in (start, end))
    return worker_pb2.WorkingHours(days=days or WEEKDAYS, start_minute=first, end_minute=last, **more)


def calendar(zone: str, *stretches: worker_pb2.WorkingHours, **more: Any) -> worker_pb2.Calendar:
    return worker_pb2.Calendar(time_zone=zone, hours=stretches, **more)


def away(start: float, end: float, reason: str = "") -> worker_pb2.Absence:
    """From and to, seconds from now on."""
    return worker_pb2.Absence(start=instant(WALL_S + start), end=instant(WALL_S + end), reason=reason)


def instant(wall: float) -> Timestamp:
    made = Timestamp()
    made.FromNanoseconds(round(wall * 1e9))
    return made


def registration(shift: worker_pb2.Calendar | None = None, **more: Any) -> worker_pb2.WorkerRegistration:
    more.setdefault("max_concurrent_tasks", 2)
    more.setdefault("reports_outcomes", True)
    return worker_pb2.WorkerRegistration(calendar=shift, **more)


OFFICE = calendar(BERLIN, hours("09:00", "17:00"))
NIGHT = calendar(BERLIN, hours("22:00", "06:00"))


async def ask(live: Running, method: str, **fields: Any) -> Any:
    stub = admin_service_pb2_grpc.AdminServiceStub(live.channel)
    return await getattr(stub, method)(getattr(admin, f"{method}Request")(**fields), timeout=DEADLINE_S)


async def problem(live: Running, method: str, **fields: Any) -> Problem:
    return await refused(ask(live, method, **fields))


async def worker(live: Running, worker_id: str = "w1") -> admin.Worker:
    told: admin.Worker = (await ask(live, "GetWorker", worker_id=worker_id)).worker
    return told


async def enqueue(live: Running, task_id: str, **fields: Any) -> api.AssignResponse:
    request = api.AssignRequest(task=task(task_id, **fields), enqueue=api.Enqueue())
    answer: api.AssignResponse = await live.stub.Assign(request, timeout=DEADLINE_S)
    return answer


async def later(live: Running, seconds: float, *streams: Stream) -> None:
    """Let time pass while these workers beat."""
    left = seconds
    while left > 0.0:
        step = min(10.0, left)
        live.forward(step)
        left -= step
        for stream in streams:
            await beat(stream)


async def beat(stream: Stream) -> worker_pb2.Ack:
    """A beat that sends the last probe back."""
    return await stream.beat(probe_nonce=stream.probes.pop() if stream.probes else "")


# ---------------------------------------------------------------------- registered


async def test_a_worker_on_shift_says_when_that_ends(live: Running) -> None:
    await live.worker("w1", registration=registration(OFFICE))
    told = await worker(live)
    assert told.calendar == OFFICE
    assert not told.calendar_set_by_operator
    assert told.next_shift_change == instant(WALL_S + 8 * HOUR_S)
    assert not told.rejection
    assert (await live.assign("t")).decision.worker_id == "w1"
    assert (await ask(live, "GetStatus")).workers.off_shift == 0


async def test_off_shift_it_is_no_candidate_and_the_refusal_says_who_comes_when(live: Running) -> None:
    await live.worker("late", registration=registration(calendar(NEW_YORK, hours("09:00", "17:00"))))
    await live.worker("night", registration=registration(NIGHT))
    told = await refused(live.assign("t"))
    assert (told.code, told.reason) == ("RESOURCE_EXHAUSTED", "NO_ELIGIBLE_WORKER_NOW")
    assert told.rejections() == {"REJECTION_REASON_OFF_SHIFT": 2}
    assert "worker 'late' is the first to come, at 2027-01-15T09:00-05:00 (America/New_York)" in told.message
    assert told.metadata["next_worker"] == "late"
    assert float(told.metadata["next_shift"]) == WALL_S + 6 * HOUR_S
    assert told.retry_s == pytest.approx(60.0)
    assert (await ask(live, "GetStatus")).workers.off_shift == 2
    seen = await worker(live, "night")
    assert seen.rejection == decision_pb2.REJECTION_REASON_OFF_SHIFT
    assert seen.next_shift_change == instant(WALL_S + 13 * HOUR_S)


async def test_what_waits_is_told_who_comes_when_and_starts_then(live: Running) -> None:
    stream = await live.worker("w1", registration=registration(calendar("UTC", hours("08:10", "17:00"))))
    waiting = (await enqueue(live, "t")).waiting
    assert waiting.blocking == task_pb2.BLOCKING_REASON_NO_ELIGIBLE_WORKER_NOW
    assert "worker 'w1' is the first to come, at 2027-01-15T08:10+00:00" in waiting.blocking_detail
    assert waiting.expected_start_p50 == instant(WALL_S + 600.0)
    await later(live, 599.0, stream)
    assert live.core.task("", "t", 1) is None
    await later(live, 1.0, stream)
    assert live.core.task("", "t", 1) is not None


async def test_the_end_of_a_shift_is_an_event_and_so_is_the_beginning(live: Running) -> None:
    shift = calendar("UTC", hours("08:01", "08:03"))
    stream = await live.worker("w1", registration=registration(shift))
    await later(live, 240.0, stream)
    kinds = (admin.EVENT_KIND_WORKER_ON_SHIFT, admin.EVENT_KIND_WORKER_OFF_SHIFT)
    watch = admin_service_pb2_grpc.AdminServiceStub(live.channel).WatchEvents(
        admin.WatchEventsRequest(kinds=kinds, replay_last=10), timeout=DEADLINE_S
    )
    seen: list[Any] = [(await cast(Any, watch).read()).event for _ in range(3)]
    watch.cancel()
    assert [(each.kind, each.at) for each in seen] == [
        (kinds[1], instant(WALL_S)), (kinds[0], instant(WALL_S + 60.0)), (kinds[1], instant(WALL_S + 180.0)),
    ]  # fmt: skip
    assert (seen[2].worker_id, seen[2].before, seen[2].after) == ("w1", "on", "off")
    assert seen[2].detail.endswith("the next shift begins at 2027-01-18T08:01+00:00 (UTC)")


async def test_slots_follow_the_hours(live: Running) -> None:
    shift = calendar("UTC", hours("08:00", "08:05", slots=1), hours("08:05", "17:00", slots=3))
    stream = await live.worker("w1", registration=registration(shift, max_concurrent_tasks=4))
    assert (await worker(live)).free_slots == 1
    await later(live, 300.0, stream)
    told = await worker(live)
    assert (told.max_concurrent_tasks, told.free_slots) == (4, 3)
    assert told.next_shift_change == instant(WALL_S + 9 * HOUR_S)


async def test_a_registration_without_a_calendar_works_always_again(live: Running) -> None:
    stream = await live.worker("w1", registration=registration(NIGHT))
    assert (await worker(live)).rejection == decision_pb2.REJECTION_REASON_OFF_SHIFT
    await stream.beat(registration=registration())
    told = await worker(live)
    assert not told.HasField("calendar")
    assert not told.HasField("next_shift_change")
    assert (await live.assign("t")).decision.worker_id == "w1"


# ---------------------------------------------------------------------- set by an operator


async def test_an_operators_hours_come_before_its_own_until_they_are_given_up(live: Running) -> None:
    stream = await live.worker("w1", registration=registration(OFFICE))
    told = (await ask(live, "SetWorkerCalendar", worker_id="w1", calendar=NIGHT, reason="on call")).worker
    assert told.calendar == NIGHT
    assert told.calendar_set_by_operator
    assert told.rejection == decision_pb2.REJECTION_REASON_OFF_SHIFT
    await stream.beat(registration=registration(calendar("UTC")))
    assert (await worker(live)).calendar == NIGHT
    await stream.lose()
    await live.worker("w1", registration=registration(OFFICE))
    assert (await worker(live)).calendar == NIGHT
    told = (await ask(live, "SetWorkerCalendar", worker_id="w1")).worker
    assert (told.calendar, told.calendar_set_by_operator) == (OFFICE, False)
    assert not told.rejection


async def test_a_dry_run_shows_and_does_nothing(live: Running) -> None:
    await live.worker("w1", registration=registration())
    lease = (await live.assign("t", task_type="slow")).decision.lease_id
    assert lease
    answer = await ask(live, "SetWorkerCalendar", worker_id="w1", calendar=NIGHT, dry_run=True)
    assert answer.worker.calendar == NIGHT
    assert answer.worker.calendar_set_by_operator
    assert answer.worker.next_shift_change == instant(WALL_S + 13 * HOUR_S)
    assert answer.worker.rejection == decision_pb2.REJECTION_REASON_OFF_SHIFT
    assert answer.leases_beyond_shift == 1
    assert not (await worker(live)).HasField("calendar")
    assert not live.core.standing.orders
    answer = await ask(live, "SetWorkerCalendar", worker_id="w1", calendar=OFFICE, dry_run=True)
    assert answer.leases_beyond_shift == 0
    assert not answer.worker.rejection


async def test_what_runs_when_its_hours_are_set_is_not_touched(live: Running) -> None:
    stream = await live.worker("w1", registration=registration(accepts_tasks=True))
    lease = (await live.assign("t", delivery=task_pb2.DELIVERY_STREAM)).decision.lease_id
    await stream.next()
    await stream.beat(reports=[worker_pb2.LeaseReport(lease_id=lease, acknowledged=worker_pb2.LeaseAcknowledged())])
    answer = await ask(live, "SetWorkerCalendar", worker_id="w1", calendar=NIGHT)
    assert answer.leases_beyond_shift == 1
    await later(live, 30.0, stream)  # a directive besides acks would fail the beat
    record = live.core.task("", "t", 1)
    assert record is not None
    assert record.live


async def test_an_operators_hours_survive_a_restart(tmp_path: Path) -> None:
    kept = Settings(server=ServerSettings(listen="127.0.0.1:0"), storage=StorageSettings(state_folder=str(tmp_path)))
    absent = calendar(BERLIN, hours("09:00", "17:00", slots=1), absences=[away(60.5, 86_400.0, "a day off")])
    async with running(kept) as live:
        await live.worker("w1", registration=registration())
        await ask(live, "SetWorkerCalendar", worker_id="w1", calendar=absent, reason="part time")
    async with running(kept) as live:
        await live.worker("w1", registration=registration(NIGHT))
        told = await worker(live)
        assert told.calendar == absent
        assert told.calendar_set_by_operator
        assert told.free_slots == 1


async def test_an_unknown_worker_is_told_with_those_that_are_near(live: Running) -> None:
    await live.worker("anna", registration=registration())
    for fields in ({"calendar": OFFICE}, {}):
        told = await problem(live, "SetWorkerCalendar", worker_id="ana", **fields)
        assert (told.code, told.reason, told.metadata["similar"]) == ("NOT_FOUND", "WORKER_UNKNOWN", "anna")


async def test_hours_can_be_given_up_of_a_worker_that_is_not_there(live: Running) -> None:
    await live.worker("w1", registration=registration())
    await ask(live, "SetWorkerCalendar", worker_id="w1", calendar=NIGHT)
    await ask(live, "RemoveWorker", worker_id="w1")
    assert not (await ask(live, "SetWorkerCalendar", worker_id="w1")).HasField("worker")
    await live.worker("w1", registration=registration())
    assert not (await worker(live)).HasField("calendar")


async def test_what_is_set_already_is_no_news(live: Running) -> None:
    await live.worker("w1", registration=registration())
    await ask(live, "SetWorkerCalendar", worker_id="w1", calendar=OFFICE)
    events = live.core.events
    await ask(live, "SetWorkerCalendar", worker_id="w1", calendar=OFFICE)
    assert live.core.events == events


# ---------------------------------------------------------------------- what is no calendar

BAD: dict[str, tuple[worker_pb2.Calendar, list[str]]] = {
    "no zone": (calendar("", hours("09:00", "17:00")), ["time_zone"]),
    "unknown zone": (calendar("Europe/Berln"), ["time_zone"]),
    "a file": (calendar("../../etc/passwd"), ["time_zone"]),
    "a folder of zones": (calendar("Europe"), ["time_zone"]),
    "a zone of this machine": (calendar("localtime"), ["time_zone"]),
    "too long a zone": (calendar("x" * 257), ["time_zone"]),
    "no day": (calendar("UTC", worker_pb2.WorkingHours(start_minute=1, end_minute=2)), ["hours[0].days"]),
    "days": (calendar("UTC", hours("00:00", "01:00", [0, 7, 8])), ["hours[0].days[0]", "hours[0].days[2]"]),
    "too many days": (calendar("UTC", hours("00:00", "01:00", [1] * 8)), ["hours[0].days"]),
    "a start at 24:00": (calendar("UTC", hours("24:00", "01:00")), ["hours[0].start_minute"]),
    "an end at 00:00": (calendar("UTC", hours("09:00", "00:00")), ["hours[0].end_minute"]),
    "an end after 24:00": (calendar("UTC", hours("09:00", "24:01")), ["hours[0].end_minute"]),
    "no slots": (calendar("UTC", hours("09:00", "17:00", slots=0)), ["hours[0].slots"]),
    "more slots than it has": (calendar("UTC", hours("09:00", "17:00", slots=3)), ["hours[0].slots"]),
    "too many stretches": (calendar("UTC", *[hours("09:00", "17:00")] * 65), ["hours"]),
    "an absence that ends before it begins": (calendar("UTC", absences=[away(1.0, 0.0)]), ["absences[0].end"]),
    "an absence that ends as it begins": (calendar("UTC", absences=[away(1.0, 1.0)]), ["absences[0].end"]),
    "half an absence": (calendar("UTC", absences=[worker_pb2.Absence()]), ["absences[0].start", "absences[0].end"]),
    "no instant": (
        calendar("UTC", absences=[worker_pb2.Absence(start=Timestamp(seconds=2**62), end=Timestamp(nanos=-1))]),
        ["absences[0].start", "absences[0].end"],
    ),
    "too many absences": (calendar("UTC", absences=[away(at, at + 0.5) for at in range(367)]), ["absences"]),
    "too long a reason": (calendar("UTC", absences=[away(0.0, 1.0, "x" * 257)]), ["absences[0].reason"]),
}
GOOD: dict[str, worker_pb2.Calendar] = {
    "the whole day": calendar("UTC", hours("00:00", "24:00")),
    "from noon to noon": calendar("UTC", hours("12:00", "12:00")),
    "its last minute": calendar("UTC", hours("23:59", "24:00", [7])),
    "as many stretches as may be": calendar("UTC", *[hours("09:00", "17:00")] * 64),
    "as many absences as may be": calendar("UTC", absences=[away(at, at + 2.0, "x" * 256) for at in range(366)]),
    "as many slots as it has": calendar("UTC", hours("09:00", "17:00", slots=2)),
    "only an absence": calendar("Pacific/Apia", absences=[away(-1e9, 1e9)]),
}


@pytest.mark.parametrize("name", BAD)
async def test_an_operator_is_told_what_is_wrong_with_a_calendar(live: Running, name: str) -> None:
    await live.worker("w1", registration=registration())
    given, fields = BAD[name]
    told = await problem(live, "SetWorkerCalendar", worker_id="w1", calendar=given)
    assert (told.code, told.fields) == ("INVALID_ARGUMENT", [f"calendar.{field}" for field in fields])
    assert not live.core.standing.orders


@pytest.mark.parametrize("name", BAD)
async def test_a_worker_is_told_the_same_of_its_registration(live: Running, name: str) -> None:
    given, fields = BAD[name]
    stream = live.stream("w1")
    await stream.send(registration=registration(given))
    told = await stream.problem()
    assert told.fields == [f"registration.calendar.{field}" for field in fields]


@pytest.mark.parametrize("name", GOOD)
async def test_what_is_just_within_the_limits_is_taken_and_shown_as_it_came(live: Running, name: str) -> None:
    await live.worker("w1", registration=registration(GOOD[name]))
    assert (await worker(live)).calendar == GOOD[name]


async def test_an_unknown_zone_is_told_with_its_value_and_names_that_are_near(live: Running) -> None:
    await live.worker("w1", registration=registration())
    told = await problem(live, "SetWorkerCalendar", worker_id="w1", calendar=calendar("europe/berlin"))
    assert "'europe/berlin'" in told.descriptions[0]
    assert "Europe/Berlin" in told.descriptions[0].split("; there are ")[1]


@pytest.mark.parametrize("within", [0.0, -1.0, 365 * 86_400.0 + 1.0])
async def test_time_to_accept_is_above_0_and_at_most_a_year(live: Running, within: float) -> None:
    stream = live.stream("w1")
    await stream.send(registration=registration(accept_within=span(within)))
    assert (await stream.problem()).fields == ["registration.accept_within"]


# ---------------------------------------------------------------------- people


async def person(live: Running, worker_id: str, shift: worker_pb2.Calendar | None = None, **more: Any) -> Stream:
    more.setdefault("max_concurrent_tasks", 1)
    more.setdefault("accept_within", span(300.0))
    return await live.worker(worker_id, registration=registration(shift, accepts_tasks=True, **more))


async def offer(live: Running, stream: Stream, task_id: str = "t") -> worker_pb2.RunTask:
    await live.assign(task_id, delivery=task_pb2.DELIVERY_STREAM)
    got = await stream.next()
    while not got.HasField("run_task"):
        got = await stream.next()
    return got.run_task


def report(lease_id: str, **fact: Any) -> worker_pb2.LeaseReport:
    return worker_pb2.LeaseReport(lease_id=lease_id, **fact)


async def test_an_offer_waits_for_as_long_as_its_worker_may_think(live: Running) -> None:
    stream = await person(live, "ann")
    assert (await worker(live, "ann")).accept_within == span(300.0)
    run = await offer(live, stream)
    assert run.ack_within == span(300.0)
    await later(live, 299.0, stream)
    await stream.beat(reports=[report(run.lease_id, acknowledged=worker_pb2.LeaseAcknowledged())])
    await later(live, 60.0, stream)
    record = live.core.task("", "t", 1)
    assert record is not None
    assert record.live


async def test_an_offer_that_nobody_accepts_lapses_and_goes_to_somebody_else_first(live: Running) -> None:
    ann = await person(live, "ann")
    run = await offer(live, ann)
    bob = await person(live, "bob")
    for _ in range(30):
        live.forward(10.0)
        if live.core.task("", "t", 2) is None:
            await beat(ann)
            await beat(bob)
    got = await ann.next()
    assert (got.cancel.lease_id, got.cancel.reason) == (run.lease_id, "it was not accepted within 300 s")
    assert (await beat(ann)).sequence
    assert live.record("ann").connected  # its session goes on
    again = live.core.task("", "t", 2)
    assert again is not None
    assert again.worker_id == "bob"
    refusal = await ann.beat(reports=[report(run.lease_id, acknowledged=worker_pb2.LeaseAcknowledged())])
    assert [each.reason for each in refusal.refused] == ["LEASE_ENDED"]


async def test_a_decline_with_a_reason_goes_to_somebody_else_and_is_told(live: Running) -> None:
    ann = await person(live, "ann")
    run = await offer(live, ann)
    await person(live, "bob")
    await ann.beat(reports=[report(run.lease_id, declined=worker_pb2.LeaseDeclined(reason="not my field"))])
    again = live.core.task("", "t", 2)
    assert again is not None
    assert again.worker_id == "bob"


async def test_offers_go_back_when_the_shift_ends_and_nobody_else_is_given_them_silently(live: Running) -> None:
    ann = await person(live, "ann", calendar("UTC", hours("08:00", "08:01")))
    run = await offer(live, ann)
    for _ in range(6):
        live.forward(10.0)
        if live.core.task("", "t", 1).live:  # type: ignore[union-attr] # it was placed
            await beat(ann)
    got = await ann.next()
    assert (got.cancel.lease_id, got.cancel.reason) == (run.lease_id, "its worker's shift is over")
    listed = (await ask(live, "ListWaiting")).tasks
    assert [(each.task.task_id, each.task.attempt) for each in listed] == [("t", 2)]
    assert "worker 'ann' is the first to come, at 2027-01-18T08:00+00:00" in listed[0].waiting.blocking_detail
    assert listed[0].waiting.expected_start_p50 == instant(WALL_S + 3 * 86_400.0)


async def test_what_was_accepted_and_not_started_is_asked_back_and_placed_again_once_given_back(live: Running) -> None:
    shift = calendar("UTC", hours("08:00", "08:01"))
    ann = await person(live, "ann", shift, max_concurrent_tasks=2)
    held, started = await offer(live, ann, "held"), await offer(live, ann, "started")
    acknowledged = worker_pb2.LeaseAcknowledged()
    await ann.beat(
        reports=[
            report(held.lease_id, acknowledged=acknowledged),
            report(started.lease_id, acknowledged=acknowledged),
            report(started.lease_id, started=worker_pb2.LeaseStarted()),
        ]
    )
    await later(live, 50.0, ann)
    live.forward(10.0)
    got = await ann.next()
    assert got.return_lease.lease_id == held.lease_id
    assert live.core.task("", "held", 1).live  # type: ignore[union-attr] # until it is given back
    await ann.beat(reports=[report(held.lease_id, returned=worker_pb2.LeaseReturned())])
    assert [each.task.task_id for each in (await ask(live, "ListWaiting")).tasks] == ["held"]
    assert live.core.task("", "started", 1).live  # type: ignore[union-attr] # it goes on


async def test_without_hand_over_everything_stays(live: Running) -> None:
    kept = settings(worker=WorkerSettings(hand_over_at_shift_end=False))
    async with running(kept) as other:
        ann = await person(other, "ann", calendar("UTC", hours("08:00", "08:01")))
        await offer(other, ann)
        await later(other, 120.0, ann)
        record = other.core.task("", "t", 1)
        assert record is not None
        assert record.live


async def test_the_features_name_calendars(live: Running) -> None:
    features = set((await ask(live, "GetStatus")).features)
    assert {"calendar", "accept_within", "set_worker_calendar"} <= features


def test_the_clock_of_these_tests_is_what_they_say() -> None:
    assert datetime.fromtimestamp(WALL_S, ZoneInfo(BERLIN)).strftime("%a %H:%M") == "Fri 09:00"


async def test_the_sdk_offers_tasks_to_somebody_and_runs_what_is_accepted(live: Running) -> None:
    offers: SimpleQueue[sdk.Offer] = SimpleQueue()
    shift = sdk.Calendar(time_zone=BERLIN, hours=[sdk.Hours(start=time(9), end=time(17))])
    ann = sdk.Worker(live.app.address, worker_id="ann", calendar=shift, offers=offers.put, accept_within=300.0)
    done: list[str] = []

    @ann.task("resize")
    def resize(given: sdk.TaskContext) -> None:
        done.append(given.task_id)

    ann.start()
    try:
        await until(lambda: "ann" in live.core.fleet.records, "she registers")
        assert (await worker(live, "ann")).calendar == OFFICE
        for task_id in ("declined", "accepted"):
            await live.assign(task_id, delivery=task_pb2.DELIVERY_STREAM)
            await until(lambda: not offers.empty(), "she is asked")
            offer = offers.get()
            assert (offer.task.task_id, offer.accept_within_s) == (task_id, 300.0)
            record = live.core.task("", task_id, 1)
            assert record is not None
            assert record.state.name == "OFFERED"
            assert offer.decline("busy") if task_id == "declined" else offer.accept()
            await until(lambda record=record: not record.live, "it ends")  # type: ignore[misc] # of this turn
        assert done == ["accepted"]
        waiting = live.core.queue.waiting.by_task["", "declined"]
        assert waiting.event.trail.avoid == ("ann",)
    finally:
        await asyncio.to_thread(ann.stop, 0.0)


async def test_the_lines_of_the_page_work(live: Running) -> None:
    page = (Path(__file__).parents[2] / "docs" / "calendars.md").read_text("utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    said: dict[str, Any] = {}
    exec(block.replace("localhost:50051", live.app.address), said)  # noqa: S102 -- of this repository
    said["ann"].start()
    try:
        await until(lambda: "ann" in live.core.fleet.records, "she registers")
        await live.assign("t", task_type="review", delivery=task_pb2.DELIVERY_STREAM)
        await until(lambda: live.core.ledger.live == 0, "it is accepted, and done")
        assert live.record("ann").completed == 1
    finally:
        await asyncio.to_thread(said["ann"].stop, 0.0)
