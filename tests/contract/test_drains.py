"""Drains over the wire: each method, each code, what a worker is told and what it says to it."""

import asyncio
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from scheduler_api.v1 import admin_service_pb2 as admin
from scheduler_api.v1 import admin_service_pb2_grpc, decision_pb2, task_pb2, worker_pb2
from scheduler_api.v1 import schedule_service_pb2 as api
from scheduler_server.assignment.draining import MOST_STANDING
from scheduler_server.model.fleet_event import FleetEventKind
from tests.contract.server import DEADLINE_S, WALL_S, Problem, Running, Stream, refused, task, until

STREAM = task_pb2.DELIVERY_STREAM
LEAVE, CANCEL, LOSE = admin.DRAIN_DEADLINE_ACTION_LEAVE, 2, 3


def stub(live: Running) -> Any:
    return admin_service_pb2_grpc.AdminServiceStub(live.channel)


async def ask(live: Running, method: str, **fields: Any) -> Any:
    request = getattr(admin, f"{method}Request")(**fields)
    return await getattr(stub(live), method)(request, timeout=DEADLINE_S)


async def problem(live: Running, method: str, **fields: Any) -> Problem:
    return await refused(ask(live, method, **fields))


async def drain(live: Running, *worker_ids: str, **fields: Any) -> admin.DrainStatus:
    answer: admin.DrainWorkersResponse = await ask(live, "DrainWorkers", worker_ids=worker_ids, **fields)
    return answer.drain


async def status(live: Running, drain_id: str) -> admin.DrainStatus:
    answer: admin.GetDrainResponse = await ask(live, "GetDrain", drain_id=drain_id)
    return answer.drain


def at(seconds: float) -> Timestamp:
    """An instant, counted from the clock's beginning."""
    made = Timestamp()
    made.FromNanoseconds(round((WALL_S + seconds) * 1e9))
    return made


def state(told: admin.DrainStatus) -> str:
    return admin.DrainState.Name(told.state).removeprefix("DRAIN_STATE_")


def line(told: admin.DrainStatus, worker_id: str = "w1") -> admin.DrainWorkerStatus:
    return next(each for each in told.workers if each.worker_id == worker_id)


async def told_of(stream: Stream) -> worker_pb2.Drain:
    """The next drain that a worker is told of."""
    while True:
        got = await stream.next()
        if got.HasField("drain"):
            return got.drain


async def holding(live: Running, name: str = "w1", **registration: Any) -> tuple[Stream, str, str]:
    """A worker that runs one task and holds another; their leases."""
    stream = await live.sdk_worker(name, slots=2, **registration)
    leases: list[str] = []
    for _ in range(2):
        await live.assign(f"{name}-{len(leases)}", delivery=STREAM)
        got = await stream.next()
        assert got.HasField("run_task")
        leases.append(got.run_task.lease_id)
    runs, held = leases
    reports = [
        worker_pb2.LeaseReport(lease_id=runs, started=worker_pb2.LeaseStarted()),
        worker_pb2.LeaseReport(lease_id=held, acknowledged=worker_pb2.LeaseAcknowledged()),
    ]
    listed = [worker_pb2.RunningLease(lease_id=lease) for lease in leases]
    listed[0].elapsed.FromMilliseconds(10)
    await stream.beat(reports=reports, running=worker_pb2.RunningLeases(leases=listed), queue_depth=2)
    return stream, runs, held


def gives_back(lease_id: str) -> worker_pb2.LeaseReport:
    return worker_pb2.LeaseReport(lease_id=lease_id, returned=worker_pb2.LeaseReturned())


def ends(lease_id: str, outcome: int = task_pb2.OUTCOME_STATUS_SUCCEEDED) -> worker_pb2.LeaseReport:
    return worker_pb2.LeaseReport(lease_id=lease_id, finished=task_pb2.Outcome(status=outcome))  # type: ignore[arg-type]


# ---------------------------------------------------------------------- from its beginning to its end


async def test_a_drain_from_its_beginning_to_its_end(live: Running) -> None:
    stream, runs, held = await holding(live)
    await live.sdk_worker("other", slots=4)
    begun = await drain(live, "w1", reason="a new disk", drain_id="d1")
    assert (begun.drain_id, state(begun), begun.worker_count, begun.remaining_leases) == ("d1", "ACTIVE", 1, 2)
    assert (begun.reason, begun.author, begun.at_deadline) == ("a new disk", "anonymous", LEAVE)
    assert not begun.HasField("deadline")
    assert begun.created_at == at(0)
    assert (line(begun).remaining_leases, line(begun).pending_returns, line(begun).acknowledged) == (2, 1, False)
    directive = await told_of(stream)
    assert (directive.drain_id, directive.reason, directive.HasField("deadline")) == ("d1", "a new disk", False)

    await stream.beat(drain_id="d1", queue_depth=2)
    now = await status(live, "d1")
    assert (now.acknowledged_workers, line(now).acknowledged, now.returned_tasks) == (1, True, 0)
    await stream.beat(drain_id="d1", reports=[gives_back(held)], queue_depth=1)
    now = await status(live, "d1")
    assert (now.returned_tasks, now.remaining_leases, line(now).pending_returns) == (1, 1, 0)
    assert (await live.status("w1-1")).decision.worker_id == "other"

    await stream.beat(drain_id="d1", reports=[ends(runs)])
    now = await status(live, "d1")
    assert (state(now), now.finished_tasks, now.returned_tasks, now.empty_workers) == ("COMPLETE", 1, 1, 1)
    assert now.ended_at == at(0)
    assert [each[0] for each in live.told(FleetEventKind.WORKER_DRAINING, FleetEventKind.WORKER_DRAINED)] == [
        "WORKER_DRAINING", "WORKER_DRAINED",
    ]  # fmt: skip
    assert {each.subject for each in live.app.shell.events.entries if each.kind.name.startswith("WORKER_DRAIN")} == {
        "d1"
    }

    ended = (await ask(live, "CancelDrain", drain_id="d1", reason="the disk is in")).drain
    assert (state(ended), ended.returned_tasks, ended.finished_tasks) == ("CANCELLED", 1, 1)
    assert (await told_of(stream)).drain_id == ""
    assert not live.record("w1").draining


async def test_a_worker_under_a_drain_says_so_wherever_it_is_shown(live: Running) -> None:
    await live.sdk_worker("w1", slots=2)
    await drain(live, "w1", drain_id="d1", force=True)
    await drain(live, "w1", drain_id="d2", force=True)
    worker = (await ask(live, "GetWorker", worker_id="w1")).worker
    assert (worker.draining, list(worker.drain_ids)) == (True, ["d1", "d2"])
    assert worker.rejection == decision_pb2.REJECTION_REASON_DRAINING
    assert [list(each.drain_ids) for each in (await ask(live, "ListWorkers", draining=True)).workers] == [["d1", "d2"]]
    assert not (await ask(live, "ListWorkers", draining=False)).workers
    assert (await ask(live, "GetStatus")).workers.draining == 1
    load = await ask(live, "GetLoad")
    assert (load.workers.draining, load.active_workers, load.total_workers) == (1, 0, 1)
    assert (await refused(live.assign("t"))).rejections() == {"REJECTION_REASON_DRAINING": 1}
    assert {"drain", "drain_workers", "watch_drain"} <= set((await ask(live, "GetStatus")).features)
    await ask(live, "CancelDrain", drain_id="d1")
    assert (await ask(live, "GetWorker", worker_id="w1")).worker.draining
    await ask(live, "CancelDrain", drain_id="d2")
    assert not (await ask(live, "GetWorker", worker_id="w1")).worker.draining
    assert (await live.assign("t")).decision.worker_id == "w1"


async def test_what_waits_is_placed_when_a_drain_is_called_off(live: Running) -> None:
    await live.sdk_worker("w1", slots=2)
    await drain(live, "w1", drain_id="d1", force=True)
    request = api.AssignRequest(task=task("t"), enqueue=api.Enqueue())
    assert (await live.stub.Assign(request, timeout=DEADLINE_S)).HasField("waiting")
    await ask(live, "CancelDrain", drain_id="d1")
    assert (await live.status("t")).decision.worker_id == "w1"


async def test_it_is_said_again_after_each_reconnect_and_has_to_be_noted_again(live: Running) -> None:
    stream = await live.sdk_worker("w1", slots=2)
    await live.sdk_worker("other")
    await drain(live, "w1", drain_id="d1")
    await told_of(stream)
    await stream.beat(drain_id="d1")
    assert line(await status(live, "d1")).acknowledged
    await stream.lose()
    await live.gone("w1")
    assert not line(await status(live, "d1")).connected
    again = await live.sdk_worker("w1", slots=2)
    assert (await told_of(again)).drain_id == "d1"
    assert not line(await status(live, "d1")).acknowledged
    await again.beat(drain_id="d1")
    assert line(await status(live, "d1")).acknowledged


async def test_who_echoes_the_later_of_two_drains_has_read_the_earlier(live: Running) -> None:
    stream = await live.sdk_worker("w1", slots=2)
    await live.sdk_worker("other")
    for name in ("d1", "d2", "d3"):
        await drain(live, "w1", drain_id=name)
        assert (await told_of(stream)).drain_id == name
    await stream.beat(drain_id="d2")
    assert [(await status(live, name)).acknowledged_workers for name in ("d1", "d2", "d3")] == [1, 1, 0]


async def test_an_echo_of_something_else_is_no_note(live: Running) -> None:
    stream = await live.sdk_worker("w1", slots=2)
    await live.sdk_worker("other")
    await drain(live, "w1", drain_id="d1")
    await told_of(stream)
    await stream.beat(drain_id="d7")
    assert (await status(live, "d1")).acknowledged_workers == 0


async def test_a_worker_that_reads_nothing_is_only_kept_free(live: Running) -> None:
    await live.worker("bare", queue_depth=1)
    await live.sdk_worker("other")
    begun = await drain(live, "bare", drain_id="d1")
    assert (state(begun), begun.remaining_leases) == ("COMPLETE", 0)
    assert not line(begun, "bare").acknowledged
    assert (await live.assign("t")).decision.worker_id == "other"


async def test_what_was_sent_before_the_drain_and_comes_back_counts_as_handed_back(live: Running) -> None:
    stream = await live.sdk_worker("w1", slots=2)
    await live.assign("t", delivery=STREAM)
    await live.sdk_worker("other")
    begun = await drain(live, "w1", drain_id="d1")
    assert (begun.remaining_leases, line(begun).pending_returns) == (1, 1)
    got = await stream.next()
    await told_of(stream)
    await stream.beat(drain_id="d1", reports=[gives_back(got.run_task.lease_id)])
    now = await status(live, "d1")
    assert (state(now), now.returned_tasks) == ("COMPLETE", 1)
    assert (await live.status("t")).decision.worker_id == "other"


# ---------------------------------------------------------------------- whom


async def test_labels_match_with_stars_and_those_too_that_come_or_change_later(live: Running) -> None:
    for name, zone in (("a", "eu-1"), ("b", "eu-2"), ("c", "us-1")):
        await live.sdk_worker(name, labels={"zone": zone})
    begun = await drain(live, match_labels={"zone": "eu-*"}, drain_id="d1")
    assert sorted(each.worker_id for each in begun.workers) == ["a", "b"]
    assert dict(begun.match_labels) == {"zone": "eu-*"}
    late = await live.sdk_worker("d", labels={"zone": "eu-9"})
    assert (await told_of(late)).drain_id == "d1"
    assert live.record("d").draining
    changed = worker_pb2.WorkerRegistration(accepts_tasks=True, labels={"zone": "us-9"})
    await late.send(registration=changed)
    assert (await told_of(late)).drain_id == ""
    assert not live.record("d").draining
    assert (await status(live, "d1")).worker_count == 3  # with the one that was


async def test_an_unknown_id_is_refused_with_those_that_are_near_and_nobody_drains(live: Running) -> None:
    await live.sdk_worker("gpu-17")
    await live.sdk_worker("other")
    told = await problem(live, "DrainWorkers", worker_ids=["other", "gpu-18"])
    assert (told.code, told.reason) == ("NOT_FOUND", "WORKER_UNKNOWN")
    assert (told.metadata["worker_id"], told.metadata["similar"]) == ("gpu-18", "gpu-17")
    assert not live.record("other").draining
    assert not (await ask(live, "ListDrains")).drains


async def test_an_unknown_id_that_is_meant_drains_when_it_comes(live: Running) -> None:
    await live.sdk_worker("other")
    begun = await drain(live, "late", drain_id="d1", allow_unknown=True)
    assert (state(begun), begun.worker_count) == ("COMPLETE", 0)
    stream = await live.sdk_worker("late")
    assert (await told_of(stream)).drain_id == "d1"
    assert (await status(live, "d1")).worker_count == 1


@pytest.mark.parametrize(
    "whom",
    [{"worker_ids": ["a", "b"]}, {"match_labels": {"zone": "*"}}, {"worker_ids": ["a"], "match_labels": {"n": "b"}}],
)
async def test_what_matches_every_worker_needs_force(live: Running, whom: dict[str, Any]) -> None:
    await live.sdk_worker("a", labels={"zone": "1", "n": "a"})
    await live.sdk_worker("b", labels={"zone": "2", "n": "b"})
    told = await problem(live, "DrainWorkers", **whom)
    assert (told.code, told.reason, told.metadata["workers"]) == ("FAILED_PRECONDITION", "MATCHES_WHOLE_FLEET", "2")
    assert (await problem(live, "DrainWorkers", dry_run=True, **whom)).reason == "MATCHES_WHOLE_FLEET"
    assert (await ask(live, "DrainWorkers", force=True, **whom)).drain.worker_count == 2


async def test_a_pattern_that_matches_nobody_now_stands_for_those_to_come(live: Running) -> None:
    await live.sdk_worker("a", labels={"zone": "1"})
    assert (await drain(live, match_labels={"zone": "9"})).worker_count == 0
    await live.sdk_worker("b", labels={"zone": "9"})
    assert live.record("b").draining


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "worker_ids"),
        ({"worker_ids": [""]}, "worker_ids[0]"),
        ({"worker_ids": [f"w{n}" for n in range(1_001)]}, "worker_ids"),
        ({"worker_ids": ["a"], "reason": "x" * 4_097}, "reason"),
        ({"worker_ids": ["a"], "drain_id": "x" * 257}, "drain_id"),
        ({"worker_ids": ["a"], "deadline": at(0)}, "deadline"),
        ({"worker_ids": ["a"], "deadline": at(-3_600)}, "deadline"),
        ({"worker_ids": ["a"], "at_deadline": CANCEL}, "at_deadline"),
        ({"worker_ids": ["a"], "at_deadline": 9}, "at_deadline"),
        ({"match_labels": {"": "x"}}, "match_labels"),
    ],
)
async def test_what_makes_no_sense_is_refused_by_field(live: Running, fields: dict[str, Any], field: str) -> None:
    await live.sdk_worker("a")
    await live.sdk_worker("b")
    told = await problem(live, "DrainWorkers", **fields)
    assert told.code == "INVALID_ARGUMENT"
    assert field in told.fields
    assert not live.record("a").draining


async def test_a_deadline_just_ahead_is_taken(live: Running) -> None:
    await live.sdk_worker("a")
    await live.sdk_worker("b")
    begun = await drain(live, "a", deadline=at(0.5))
    assert begun.deadline == at(0.5)


async def test_a_dry_run_shows_whom_it_would_drain_and_does_nothing(live: Running) -> None:
    await holding(live)
    await live.sdk_worker("other")
    events = live.core.events
    shown = await drain(live, "w1", dry_run=True, deadline=at(60), at_deadline=LOSE, drain_id="d1")
    assert (shown.drain_id, state(shown), shown.worker_count, shown.remaining_leases) == ("", "ACTIVE", 1, 2)
    assert (line(shown).remaining_leases, line(shown).pending_returns) == (2, 1)
    assert shown.HasField("expected_end")
    assert not live.record("w1").draining
    assert live.core.events == events
    assert (await problem(live, "GetDrain", drain_id="d1")).reason == "DRAIN_UNKNOWN"


async def test_the_same_once_more_is_the_same_drain_and_another_under_its_id_is_refused(live: Running) -> None:
    await live.sdk_worker("a")
    await live.sdk_worker("b")
    asked = {"worker_ids": ["a"], "drain_id": "d1", "deadline": at(5), "at_deadline": CANCEL}
    await ask(live, "DrainWorkers", reason="first", **asked)
    live.forward(60.0)  # its deadline has passed: the repeated call is still about the same
    again = (await ask(live, "DrainWorkers", reason="second", **asked)).drain
    assert (again.drain_id, again.reason) == ("d1", "first")
    assert len((await ask(live, "ListDrains")).drains) == 1
    for other in ({"worker_ids": ["b"]}, {"deadline": at(99)}, {"at_deadline": LOSE}, {"match_labels": {"z": "1"}}):
        told = await problem(live, "DrainWorkers", **{**asked, **other})
        assert (told.code, told.reason) == ("ALREADY_EXISTS", "DRAIN_CONFLICT")
    await ask(live, "CancelDrain", drain_id="d1")
    assert state((await ask(live, "DrainWorkers", **asked)).drain) == "CANCELLED"
    assert not live.record("a").draining


async def test_without_an_id_each_call_makes_a_drain_of_its_own(live: Running) -> None:
    await live.sdk_worker("a")
    await live.sdk_worker("b")
    first, second = await drain(live, "a"), await drain(live, "a")
    assert first.drain_id != second.drain_id
    assert list((await ask(live, "GetWorker", worker_id="a")).worker.drain_ids) == [first.drain_id, second.drain_id]


async def test_so_many_drains_stand_at_most(live: Running) -> None:
    await live.sdk_worker("a")
    await live.sdk_worker("b")
    for number in range(MOST_STANDING):
        await drain(live, "a", drain_id=f"d{number}")
    told = await problem(live, "DrainWorkers", worker_ids=["a"])
    assert (told.code, told.reason) == ("RESOURCE_EXHAUSTED", "TOO_MANY_DRAINS")
    await ask(live, "CancelDrain", drain_id="d0")
    await drain(live, "a")


# ---------------------------------------------------------------------- deadlines


async def test_at_the_deadline_leave_lets_it_go_on_and_says_overdue(live: Running) -> None:
    stream, runs, held = await holding(live)
    await live.sdk_worker("other")
    await drain(live, "w1", drain_id="d1", deadline=at(30))
    directive = await told_of(stream)
    assert directive.deadline == at(30)
    await stream.beat(drain_id="d1", reports=[gives_back(held)], queue_depth=1)
    live.forward(29.0)
    assert state(await status(live, "d1")) == "ACTIVE"
    live.forward(1.0)
    assert state(await status(live, "d1")) == "OVERDUE"
    await stream.beat(drain_id="d1", reports=[ends(runs)])
    assert state(await status(live, "d1")) == "COMPLETE"


async def test_at_the_deadline_cancel_stops_what_runs(live: Running) -> None:
    stream, runs, held = await holding(live)
    await live.sdk_worker("other")
    await drain(live, "w1", drain_id="d1", deadline=at(5), at_deadline=CANCEL)
    await told_of(stream)
    await stream.beat(drain_id="d1", reports=[gives_back(held)], queue_depth=1)
    live.forward(5.0)
    got = await stream.next()
    assert (got.cancel.lease_id, got.cancel.reason) == (runs, "the deadline of a drain has passed")
    now = await status(live, "d1")
    assert (state(now), now.remaining_leases, now.stopped_tasks) == ("OVERDUE", 1, 0)  # not before its worker says so
    await stream.beat(drain_id="d1", reports=[ends(runs, task_pb2.OUTCOME_STATUS_CANCELLED)])
    now = await status(live, "d1")
    assert (state(now), now.stopped_tasks, now.finished_tasks) == ("COMPLETE", 1, 0)
    assert await live.state("w1-0") == "CANCELLED"


async def test_at_the_deadline_lose_gives_up_what_runs_by_its_loss_policy(live: Running) -> None:
    stream = await live.sdk_worker("w1", slots=2)
    for name, policy in (("again", task_pb2.LOSS_POLICY_REQUEUE), ("told", task_pb2.LOSS_POLICY_REPORT)):
        await live.assign(name, delivery=STREAM, loss_policy=policy)
        lease = (await stream.next()).run_task.lease_id
        await stream.beat(reports=[worker_pb2.LeaseReport(lease_id=lease, started=worker_pb2.LeaseStarted())])
    await live.sdk_worker("other")
    await drain(live, "w1", drain_id="d1", deadline=at(5), at_deadline=LOSE)
    live.forward(5.0)
    now = await status(live, "d1")
    assert (state(now), now.stopped_tasks, now.remaining_leases) == ("COMPLETE", 2, 0)
    assert (await live.status("again")).decision.worker_id == "other"
    assert await live.state("told") == "LOST"


# ---------------------------------------------------------------------- by a worker's own wish


async def test_a_worker_that_begins_to_drain_is_shown_as_a_drain_of_its_own(live: Running) -> None:
    stream, runs, held = await holding(live)
    await live.sdk_worker("other")
    await stream.beat(intent=worker_pb2.WORKER_INTENT_DRAIN, reports=[gives_back(held)], queue_depth=1)
    (own,) = (await ask(live, "ListDrains")).drains
    assert (own.author, list(own.worker_ids), state(own)) == ("w1", ["w1"], "ACTIVE")
    assert (own.returned_tasks, own.remaining_leases, own.acknowledged_workers) == (1, 1, 1)
    assert list((await ask(live, "GetWorker", worker_id="w1")).worker.drain_ids) == [own.drain_id]
    told = await problem(live, "CancelDrain", drain_id=own.drain_id)
    assert (told.code, told.reason, told.metadata["worker_id"]) == ("FAILED_PRECONDITION", "DRAIN_OF_WORKER", "w1")
    await stream.beat(intent=worker_pb2.WORKER_INTENT_DRAIN, reports=[ends(runs)])
    assert state(await status(live, own.drain_id)) == "COMPLETE"
    await stream.send(intent=worker_pb2.WORKER_INTENT_LEAVE)
    await stream.goodbye()
    done = await status(live, own.drain_id)
    assert (state(done), done.returned_tasks, done.finished_tasks) == ("COMPLETE", 1, 1)
    await live.sdk_worker("w1")
    assert not live.record("w1").draining
    assert state((await ask(live, "CancelDrain", drain_id=own.drain_id)).drain) == "COMPLETE"


async def test_a_worker_that_takes_its_wish_back_works_again(live: Running) -> None:
    stream, *_ = await holding(live)
    await stream.beat(intent=worker_pb2.WORKER_INTENT_DRAIN)
    (own,) = (await ask(live, "ListDrains")).drains
    await stream.beat(intent=worker_pb2.WORKER_INTENT_WORK)
    assert state(await status(live, own.drain_id)) == "CANCELLED"
    assert not live.record("w1").draining


async def test_an_operators_drain_goes_on_when_the_workers_own_ends(live: Running) -> None:
    stream = await live.sdk_worker("w1")
    await live.sdk_worker("other")
    await drain(live, "w1", drain_id="d1")
    await told_of(stream)
    await stream.beat(intent=worker_pb2.WORKER_INTENT_DRAIN, drain_id="d1")
    await stream.beat(intent=worker_pb2.WORKER_INTENT_WORK, drain_id="d1")
    assert live.record("w1").draining
    assert list((await ask(live, "GetWorker", worker_id="w1")).worker.drain_ids) == ["d1"]


# ---------------------------------------------------------------------- listed, watched


async def test_drains_are_listed_newest_first_by_pages_states_and_worker(live: Running) -> None:
    await live.sdk_worker("a")
    await live.sdk_worker("b")
    for number in range(5):
        await drain(live, "a" if number % 2 else "b", drain_id=f"d{number}")
        live.forward(1.0)
    await ask(live, "CancelDrain", drain_id="d3")
    names, token = [], ""
    while True:
        page = await ask(live, "ListDrains", page_size=2, page_token=token)
        names.append([each.drain_id for each in page.drains])
        assert not any(each.workers for each in page.drains)
        token = page.next_page_token
        if not token:
            break
    assert names == [["d4", "d3"], ["d2", "d1"], ["d0"]]
    ended = await ask(live, "ListDrains", states=[admin.DRAIN_STATE_CANCELLED])
    assert [each.drain_id for each in ended.drains] == ["d3"]
    of_b = await ask(live, "ListDrains", worker_id="b")
    assert [each.drain_id for each in of_b.drains] == ["d4", "d2", "d0"]
    assert (await problem(live, "ListDrains", page_token="x")).reason == "PAGE_TOKEN_INVALID"
    assert (await problem(live, "ListDrains", states=[0])).fields == ["states[0]"]


@pytest.mark.parametrize("method", ["GetDrain", "CancelDrain"])
async def test_an_unknown_drain_is_told(live: Running, method: str) -> None:
    told = await problem(live, method, drain_id="none")
    assert (told.code, told.reason, told.metadata["drain_id"]) == ("NOT_FOUND", "DRAIN_UNKNOWN", "none")
    assert (await problem(live, method)).fields == ["drain_id"]


async def test_an_ended_drain_is_kept_for_its_time(live: Running) -> None:
    await live.worker("a")
    await live.worker("b")
    await drain(live, "a", drain_id="d1")
    await ask(live, "CancelDrain", drain_id="d1")
    live.sleep(86_400.0)
    assert state(await status(live, "d1")) == "CANCELLED"
    live.forward(2.0)
    assert (await problem(live, "GetDrain", drain_id="d1")).reason == "DRAIN_UNKNOWN"


def anything(_: admin.DrainStatus) -> bool:
    return True


def nothing(_: admin.DrainStatus) -> bool:
    return False


class Watching:
    """A WatchDrain stream, read to its end."""

    def __init__(self, live: Running, drain_id: str) -> None:
        self.call = stub(live).WatchDrain(admin.WatchDrainRequest(drain_id=drain_id))

    async def until(self, wanted: Any) -> admin.DrainStatus:
        """The first message from here on that is as wanted."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                got = await self.call.read()
                assert got is not grpc.aio.EOF, await self.call.code()
                if wanted(got.drain):
                    drained: admin.DrainStatus = got.drain
                    return drained


async def test_a_watch_tells_where_it_stands_then_each_change_and_ends_with_it(live: Running) -> None:
    stream, _, held = await holding(live)
    await holding(live, "w2")
    await live.sdk_worker("other", slots=9)
    await drain(live, "w1", "w2", drain_id="d1")
    watch = Watching(live, "d1")
    first = await watch.until(anything)
    assert (len(first.workers), first.remaining_leases) == (2, 4)
    assert (await ask(live, "GetStatus")).streams.drain_watches == 1
    await told_of(stream)
    await stream.beat(drain_id="d1", reports=[gives_back(held)], queue_depth=1)
    told = await watch.until(lambda told: told.returned_tasks == 1)
    assert [each.worker_id for each in told.workers] == ["w1"]  # only who changed
    assert told.worker_count == 2
    await ask(live, "CancelDrain", drain_id="d1")
    last = await watch.until(lambda told: state(told) == "CANCELLED")
    assert last.returned_tasks == 1
    assert await asyncio.wait_for(watch.call.read(), DEADLINE_S) is grpc.aio.EOF
    assert await watch.call.code() is grpc.StatusCode.OK
    await until(lambda: not live.app.admin.drain_watches, "the watch is counted no more")


async def test_a_watch_of_one_that_is_complete_says_so_and_ends(live: Running) -> None:
    await live.sdk_worker("a")
    await live.sdk_worker("b")
    await drain(live, "a", drain_id="d1")
    watch = Watching(live, "d1")
    assert state(await watch.until(anything)) == "COMPLETE"
    assert await asyncio.wait_for(watch.call.read(), DEADLINE_S) is grpc.aio.EOF


async def test_a_watch_ends_when_the_server_goes_down(live: Running) -> None:
    await holding(live)
    await live.sdk_worker("other")
    await drain(live, "w1", drain_id="d1")
    watch = Watching(live, "d1")
    await watch.until(anything)
    live.app.admin.drain()
    told = await refused(watch.until(nothing))
    assert (told.code, told.reason) == ("UNAVAILABLE", "SERVER_DRAINING")
    told = await refused(Watching(live, "d1").until(anything))
    assert told.reason == "SERVER_DRAINING"


async def test_a_watch_of_an_unknown_drain_is_refused(live: Running) -> None:
    told = await refused(Watching(live, "none").until(anything))
    assert (told.code, told.reason) == ("NOT_FOUND", "DRAIN_UNKNOWN")


async def test_a_watcher_hears_when_a_held_task_starts_after_all(live: Running) -> None:
    stream, _, held = await holding(live)
    await live.sdk_worker("other")
    await drain(live, "w1", drain_id="d1")
    watch = Watching(live, "d1")
    assert line(await watch.until(anything)).pending_returns == 1
    await told_of(stream)
    await stream.beat(reports=[worker_pb2.LeaseReport(lease_id=held, started=worker_pb2.LeaseStarted())], queue_depth=2)
    told = await watch.until(lambda told: bool(told.workers) and not line(told).pending_returns)
    assert told.remaining_leases == 2


# ---------------------------------------------------------------------- the whole of it


async def test_totals_and_lines_agree_at_every_step(live: Running) -> None:
    stream, runs, held = await holding(live)
    other = await live.sdk_worker("other", slots=9)
    await drain(live, "w1", drain_id="d1")
    await told_of(stream)
    steps: list[dict[str, Any]] = [
        {"queue_depth": 2},
        {"reports": [gives_back(held)], "queue_depth": 1},
        {"reports": [gives_back(held)], "queue_depth": 1},  # told twice, counted once
        {"reports": [ends(runs)]},
        {"reports": [ends(runs)]},
    ]
    for step in steps:
        await stream.beat(drain_id="d1", **step)
        now = await status(live, "d1")
        of = line(now)
        assert (of.remaining_leases, of.returned_tasks, of.finished_tasks) == (
            now.remaining_leases, now.returned_tasks, now.finished_tasks,
        )  # fmt: skip
        assert now.remaining_leases + now.returned_tasks + now.finished_tasks == 2
        assert of.remaining_leases == len(live.record("w1").leases)
    assert (await other.next()).HasField("run_task")


async def test_a_journal_that_fails_keeps_no_drain_and_calls_none_off(live: Running) -> None:
    await live.sdk_worker("a")
    await live.sdk_worker("b")
    await drain(live, "b", drain_id="kept")
    journal: Any = live.app.shell.journal
    put, delete = journal.put, journal.delete
    try:
        journal.put = lambda *_args, **_more: 0
        told = await problem(live, "DrainWorkers", worker_ids=["a"], drain_id="d1")
        assert (told.code, told.reason) == ("UNAVAILABLE", "STORE_UNAVAILABLE")
        assert not live.record("a").draining
        assert (await problem(live, "GetDrain", drain_id="d1")).reason == "DRAIN_UNKNOWN"
        assert (await problem(live, "CancelDrain", drain_id="kept")).reason == "STORE_UNAVAILABLE"
        assert live.record("b").draining
    finally:
        journal.put, journal.delete = put, delete
    assert state(await status(live, "kept")) == "COMPLETE"
