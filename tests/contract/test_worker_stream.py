"""What Schedule promises a worker that says more than five fields: sessions, leases, directives."""

import asyncio
import contextlib
from typing import Any

import grpc
import pytest

from scheduler_api.v1 import task_pb2, worker_pb2
from scheduler_server.model.fleet_event import FleetEventKind
from scheduler_server.registry.settings import HealthSettings, WorkerSettings
from tests.contract.server import WALL_MS, Running, Stream, digest, running, settings, span, until

STREAM = task_pb2.DELIVERY_STREAM


def registration(**fields: Any) -> worker_pb2.WorkerRegistration:
    return worker_pb2.WorkerRegistration(**fields)


def epoch(boot: str, connection: int) -> worker_pb2.SessionEpoch:
    return worker_pb2.SessionEpoch(boot_id=boot, connection=connection)


def listing(*lease_ids: str, elapsed_s: float | None = None) -> worker_pb2.RunningLeases:
    leases = [worker_pb2.RunningLease(lease_id=each) for each in lease_ids]
    if elapsed_s is not None:
        for each in leases:
            each.elapsed.CopyFrom(span(elapsed_s))
    return worker_pb2.RunningLeases(leases=leases)


def started(lease_id: str) -> worker_pb2.LeaseReport:
    return worker_pb2.LeaseReport(lease_id=lease_id, started=worker_pb2.LeaseStarted())


def acknowledged(lease_id: str) -> worker_pb2.LeaseReport:
    return worker_pb2.LeaseReport(lease_id=lease_id, acknowledged=worker_pb2.LeaseAcknowledged())


def finished(lease_id: str, seconds: float = 1.5, **outcome: Any) -> worker_pb2.LeaseReport:
    outcome.setdefault("status", task_pb2.OUTCOME_STATUS_SUCCEEDED)
    return worker_pb2.LeaseReport(lease_id=lease_id, finished=task_pb2.Outcome(duration=span(seconds), **outcome))


def declined(lease_id: str, reason: str = "") -> worker_pb2.LeaseReport:
    return worker_pb2.LeaseReport(lease_id=lease_id, declined=worker_pb2.LeaseDeclined(reason=reason))


def returned(lease_id: str) -> worker_pb2.LeaseReport:
    return worker_pb2.LeaseReport(lease_id=lease_id, returned=worker_pb2.LeaseReturned())


def verdicts(answer: worker_pb2.Ack | worker_pb2.Welcome) -> dict[str, str]:
    names = worker_pb2.LeaseVerdictKind
    return {each.lease_id: names.Name(each.verdict).removeprefix("LEASE_VERDICT_KIND_") for each in answer.verdicts}


def refusals(ack: worker_pb2.Ack) -> dict[str, str]:
    return {each.lease_id: each.reason for each in ack.refused}


# ---------------------------------------------------------------------- registration


async def test_a_worker_registers_with_an_id_of_its_own(live: Running) -> None:
    stream = await live.worker(
        "w",
        epoch=epoch("boot", 3),
        registration=registration(
            node="host-1",
            capabilities=["gpu", "avx", "gpu"],
            specializations=["bug"],
            worker_type="build",
            max_concurrent_tasks=7,
            labels={"zone": "a"},
            reports_outcomes=True,
            software="test/1",
        ),
    )
    welcome = stream.welcome
    assert welcome.worker_id == "w"
    assert (welcome.epoch.boot_id, welcome.epoch.connection) == ("boot", 3)
    assert welcome.protocol_version == 1
    assert welcome.server_incarnation == live.core.incarnation
    assert 0.9 <= welcome.heartbeat_interval.ToTimedelta().total_seconds() <= 1.1
    assert welcome.unhealthy_after.seconds == 30
    record = live.record()
    assert record.registration.capabilities == ("avx", "gpu")
    assert record.registration.labels == (("zone", "a"),)
    assert record.registration.node == "host-1"
    assert (record.slots, record.registration.software) == (7, "test/1")
    assert record.specializations == {"bug"}


async def test_a_worker_without_an_id_is_given_one_and_keeps_it(live: Running) -> None:
    first = await live.worker("", registration=registration())
    second = await live.worker("", registration=registration())
    assert first.welcome.worker_id
    assert first.welcome.worker_id != second.welcome.worker_id
    assert live.core.incarnation in first.welcome.worker_id
    await first.beat(cpu_usage=0.25)
    assert live.record(first.welcome.worker_id).cpu == 0.25


async def test_an_id_is_made_only_for_a_registration(live: Running) -> None:
    stream = live.stream("")
    await stream.send(cpu_usage=0.1)
    problem = await stream.problem()
    assert (problem.code, problem.fields) == ("INVALID_ARGUMENT", ["worker_id"])
    assert not live.core.fleet.records


async def test_specializations_may_follow_from_the_type_of_worker() -> None:
    configured = settings(worker=WorkerSettings(type_specializations={"build": ("bug", "feature")}))
    async with running(configured) as live:
        await live.worker("by type", registration=registration(worker_type="build"))
        await live.worker("by itself", registration=registration(worker_type="build", specializations=["docs"]))
        assert live.record("by type").specializations == {"bug", "feature"}
        assert live.record("by itself").specializations == {"docs"}


async def test_capabilities_labels_and_slots_change_while_it_runs(live: Running) -> None:
    stream = await live.worker(registration=registration(capabilities=["cpu"], max_concurrent_tasks=1))
    assert (await live.refuse(required_capabilities=["gpu"])).reason == "NO_CAPABLE_WORKER"
    assert (await live.refuse(match_labels={"zone": "a"})).reason == "NO_CAPABLE_WORKER"
    await stream.beat(registration=registration(capabilities=["gpu"], labels={"zone": "a"}, max_concurrent_tasks=2))
    assert (await live.assign("a", required_capabilities=["gpu"])).decision.worker_id == "w"
    assert (await live.assign("b", match_labels={"zone": "a"})).decision.worker_id == "w"
    assert (await live.refuse("c")).reason == "NO_FREE_SLOT"
    assert (await live.refuse("d", required_capabilities=["cpu"])).reason == "NO_CAPABLE_WORKER"
    assert ("WORKER_CAPACITY_CHANGED", "w", "1 slots", "2 slots") in live.told()
    assert live.told(FleetEventKind.WORKER_CHANGED)
    assert len(live.told(FleetEventKind.WORKER_REGISTERED)) == 1


async def test_a_registration_replaces_the_former_one_whole(live: Running) -> None:
    stream = await live.worker(registration=registration(capabilities=["gpu"], max_concurrent_tasks=1, node="n"))
    await stream.beat(registration=registration(capabilities=["cpu"]))
    record = live.record()
    assert (record.registration.capabilities, record.registration.node, record.slots) == (("cpu",), "", 5)


async def test_the_same_registration_again_changes_nothing(live: Running) -> None:
    fields = registration(capabilities=["gpu", "avx"], labels={"b": "2", "a": "1"})
    stream = await live.worker(registration=fields)
    before = digest(live)["events"]
    await stream.beat(registration=fields)
    assert digest(live)["events"] == before


async def test_one_worker_more_than_the_limit_is_refused_and_a_known_one_is_not() -> None:
    async with running(settings(worker=WorkerSettings(max_workers=2))) as live:
        await live.worker("a")
        second = await live.worker("b")
        stream = live.stream("c")
        await stream.send()
        problem = await stream.problem()
        assert (problem.code, problem.reason) == ("RESOURCE_EXHAUSTED", "TOO_MANY_WORKERS")
        assert problem.metadata["worker_id"] == "c"
        assert sorted(live.core.fleet.records) == ["a", "b"]
        await second.lose()
        await live.gone("b")
        await live.worker("b")


async def test_the_interval_grows_with_the_fleet_and_the_ack_says_so() -> None:
    configured = settings(health=HealthSettings(heartbeats_per_s=1.0))
    async with running(configured) as live:
        stream = await live.worker("w")
        for number in range(1, 4):
            await live.worker(f"w{number}")
        wanted = (await stream.beat()).heartbeat_interval.ToTimedelta().total_seconds()
        assert 3.6 <= wanted <= 4.4
        assert not (await stream.beat()).HasField("heartbeat_interval")


# ---------------------------------------------------------------------- sessions


async def test_a_newer_connection_of_the_same_process_takes_over(live: Running) -> None:
    first = await live.worker(epoch=epoch("boot", 1))
    second = await live.worker(epoch=epoch("boot", 2))
    goodbye = await first.goodbye()  # which also checks that the stream ends with OK
    assert goodbye.reason == worker_pb2.GOODBYE_REASON_SUPERSEDED
    assert not goodbye.HasField("reconnect_after")
    await second.beat(cpu_usage=0.5)
    assert (live.record().cpu, live.record().connected) == (0.5, True)
    assert live.told(FleetEventKind.WORKER_SUPERSEDED)


async def test_what_the_older_stream_says_after_that_is_not_heard(live: Running) -> None:
    first = await live.worker(epoch=epoch("boot", 1), cpu_usage=0.1)
    second = await live.worker(epoch=epoch("boot", 2), cpu_usage=0.2)
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # the server may have ended it before
        await first.send(cpu_usage=0.9)
    await second.beat(cpu_usage=0.3)
    assert live.record().cpu == 0.3


@pytest.mark.parametrize("connection", [1, 2])
async def test_an_older_or_equal_connection_of_the_same_process_is_refused(live: Running, connection: int) -> None:
    current = await live.worker(epoch=epoch("boot", 2))
    before = digest(live)
    late = live.stream()
    await late.send(epoch=epoch("boot", connection), cpu_usage=0.9)
    problem = await late.problem()
    assert (problem.code, problem.reason) == ("ABORTED", "SESSION_SUPERSEDED")
    assert problem.metadata == {"worker_id": "w"}
    assert digest(live) == before
    assert (await current.beat()).sequence == 2


async def test_a_restarted_worker_takes_over_and_its_former_process_is_refused_for_good(live: Running) -> None:
    old = await live.worker(epoch=epoch("old boot", 9))
    new = await live.worker(epoch=epoch("new boot", 1))
    assert (await old.goodbye()).reason == worker_pb2.GOODBYE_REASON_SUPERSEDED
    again = live.stream()
    await again.send(epoch=epoch("old boot", 10))
    problem = await again.problem()
    assert (problem.code, problem.reason) == ("ABORTED", "SESSION_SUPERSEDED")
    assert (await new.beat()).sequence == 2


async def test_a_duplicate_registration_is_a_takeover_and_makes_no_second_worker(live: Running) -> None:
    await live.worker(registration=registration(capabilities=["a"]))
    await live.worker(registration=registration(capabilities=["b"]))
    assert len(live.core.fleet) == 1
    assert live.record().registration.capabilities == ("b",)
    assert len(live.told(FleetEventKind.WORKER_REGISTERED)) == 1


async def test_the_highest_connection_number_leaves_room_to_go_on_counting(live: Running) -> None:
    await live.worker(epoch=epoch("boot", 2**63 - 1))
    bare = await live.worker()
    assert bare.welcome.epoch.connection == 2**63


async def test_leaving_forgets_the_worker_at_once(live: Running) -> None:
    stream = await live.sdk_worker()
    await live.assign()
    await stream.send(intent=worker_pb2.WORKER_INTENT_LEAVE)
    goodbye = await stream.goodbye()
    assert goodbye.reason == worker_pb2.GOODBYE_REASON_LEFT
    assert not goodbye.HasField("reconnect_after")
    assert not live.core.fleet.records
    assert await live.state() == "LOST"
    assert (await live.refuse("next")).reason == "NO_WORKERS"


async def test_leaving_with_the_first_message_is_answered_with_a_welcome_and_a_goodbye(live: Running) -> None:
    stream = await live.worker(intent=worker_pb2.WORKER_INTENT_LEAVE)
    assert (await stream.goodbye()).reason == worker_pb2.GOODBYE_REASON_LEFT
    assert not live.core.fleet.records


async def test_a_draining_worker_gets_no_more_tasks_and_finishes_what_it_has(live: Running) -> None:
    stream = await live.sdk_worker()
    lease = (await live.assign()).decision.lease_id
    await stream.beat(intent=worker_pb2.WORKER_INTENT_DRAIN, running=listing(lease))
    problem = await live.refuse("next")
    assert problem.reason == "NO_ELIGIBLE_WORKER_NOW"
    assert problem.rejections() == {"REJECTION_REASON_DRAINING": 1}
    assert live.told(FleetEventKind.WORKER_DRAINING)
    ack = await stream.beat(intent=worker_pb2.WORKER_INTENT_DRAIN, reports=[finished(lease)])
    assert not ack.refused
    assert await live.state() == "FINISHED"
    await stream.beat(intent=worker_pb2.WORKER_INTENT_WORK)
    assert (await live.assign("next")).decision.worker_id == "w"


async def test_a_removed_worker_that_registered_is_told_so_and_registers_again(live: Running) -> None:
    stream = await live.sdk_worker()
    live.forward(299)
    live.forward(1)
    assert "w" in live.core.fleet.records
    live.forward(1.5)
    goodbye = await stream.goodbye()
    assert goodbye.reason == worker_pb2.GOODBYE_REASON_REMOVED
    assert goodbye.reconnect_after.ToTimedelta().total_seconds() > 0
    assert "w" not in live.core.fleet.records
    await live.sdk_worker()
    assert (await live.assign()).decision.worker_id == "w"


async def test_a_stream_that_says_nothing_is_ended(live: Running) -> None:
    live.app.streams.first_heartbeat_s = 0.05
    silent = live.stream()
    problem = await silent.problem()
    assert (problem.code, problem.reason) == ("DEADLINE_EXCEEDED", "STREAM_SILENT")
    assert len(live.app.streams) == 0
    assert not live.core.fleet.records


async def test_a_stream_that_ends_without_a_word_is_ended_with_ok(live: Running) -> None:
    stream = live.stream()
    await stream.call.done_writing()
    assert await stream.call.read() is grpc.aio.EOF
    assert await stream.call.code() is grpc.StatusCode.OK
    assert not live.core.fleet.records


async def test_a_server_that_goes_down_says_goodbye_and_to_come_back(live: Running) -> None:
    stream = await live.sdk_worker()
    stopping = asyncio.ensure_future(live.app.stop(5.0))
    goodbye = await stream.goodbye()
    assert goodbye.reason == worker_pb2.GOODBYE_REASON_SERVER_SHUTDOWN
    assert goodbye.reconnect_after.ToTimedelta().total_seconds() > 0
    await asyncio.wait_for(stopping, 3.0)  # without waiting out the grace


# ---------------------------------------------------------------------- losing the stream


async def test_losing_the_stream_makes_a_worker_ineligible_at_once_and_keeps_its_leases(live: Running) -> None:
    stream = await live.sdk_worker()
    await live.assign()
    await stream.lose()
    await live.gone()
    assert live.health() == "UNHEALTHY"
    problem = await live.refuse("next")
    assert problem.reason == "NO_ELIGIBLE_WORKER_NOW"
    assert problem.rejections() == {"REJECTION_REASON_DISCONNECTED": 1}
    assert await live.state() == "PLACED"
    assert list(live.record().leases)


async def test_a_lease_that_the_worker_lists_when_it_is_back_goes_on(live: Running) -> None:
    first = await live.worker(epoch=epoch("boot", 1), registration=registration(accepts_tasks=True))
    lease = (await live.assign()).decision.lease_id
    await first.lose()
    await live.gone()
    second = await live.worker(epoch=epoch("boot", 2), running=listing(lease, elapsed_s=3.0), queue_depth=1)
    assert verdicts(second.welcome) == {}  # nothing to say: it is this worker's
    assert await live.state() == "STARTED"
    assert not (await second.beat(reports=[finished(lease)])).refused
    assert await live.state() == "FINISHED"


async def test_each_lease_that_is_not_the_workers_gets_a_verdict(live: Running) -> None:
    first = await live.worker(epoch=epoch("boot", 1), registration=registration(accepts_tasks=True))
    kept = (await live.assign("kept")).decision.lease_id
    cancelled = (await live.assign("cancelled")).decision.lease_id
    done = (await live.assign("done")).decision.lease_id
    await live.worker("other", registration=registration(max_concurrent_tasks=1, capabilities=["x"]))
    others = (await live.assign("others", required_capabilities=["x"])).decision.lease_id
    await live.cancel("cancelled")
    await live.report(done, duration=span(1))
    await first.lose()
    await live.gone()
    second = await live.worker(
        epoch=epoch("boot", 2), running=listing(kept, cancelled, done, others, "from another life"), queue_depth=5
    )
    assert verdicts(second.welcome) == {
        cancelled: "STOP",
        done: "KEEP",
        others: "STOP",
        "from another life": "UNKNOWN",
    }
    # The same on an ack as on a welcome.
    ack = await second.beat(running=listing(kept, cancelled, "from another life"), queue_depth=3)
    assert verdicts(ack) == {cancelled: "STOP", "from another life": "UNKNOWN"}


async def test_a_lease_that_its_worker_no_longer_lists_is_given_up_after_a_grace(live: Running) -> None:
    stream = await live.sdk_worker(slots=1)
    await live.assign()
    await stream.beat(running=listing())
    assert await live.state() == "PLACED"
    live.forward(29)
    await stream.beat(running=listing())
    assert await live.state() == "PLACED"
    live.forward(2)
    await stream.beat(running=listing())
    assert await live.state() == "LOST"
    assert live.told(FleetEventKind.WORKER_LEDGER_REPAIRED)
    assert live.record().repairs == 1
    assert (await live.assign("next")).decision.worker_id == "w"


async def test_a_lease_listed_twice_counts_once(live: Running) -> None:
    stream = await live.sdk_worker(slots=2)
    first = (await live.assign("first")).decision.lease_id
    await live.assign("second")
    await stream.beat(running=listing(first, first), queue_depth=1)
    live.forward(29)
    await stream.beat(running=listing(first, first), queue_depth=1)
    live.forward(2)
    await stream.beat(running=listing(first, first), queue_depth=1)
    assert (await live.state("first"), await live.state("second")) == ("PLACED", "LOST")


async def test_work_that_the_scheduler_did_not_hand_out_takes_slots_too(live: Running) -> None:
    stream = await live.sdk_worker(slots=3)
    await stream.beat(running=listing(), queue_depth=2)
    await live.assign("a")
    assert (await live.refuse("b")).reason == "NO_FREE_SLOT"


# ---------------------------------------------------------------------- acks, order, repetition


async def test_an_ack_carries_sequence_and_timestamp(live: Running) -> None:
    stream = await live.worker(sequence=1)
    ack = await stream.beat(sequence=2**64 - 1, timestamp_ms=WALL_MS + 5)
    assert (ack.sequence, ack.timestamp_ms) == (2**64 - 1, WALL_MS + 5)


async def test_a_heartbeat_without_a_sequence_is_acked_without_one(live: Running) -> None:
    stream = await live.worker()
    assert (await stream.beat(sequence=0, timestamp_ms=WALL_MS)).sequence == 0


async def test_a_sample_out_of_order_is_counted_and_dropped_but_is_a_sign_of_life(live: Running) -> None:
    stream = await live.worker(timestamp_ms=WALL_MS, cpu_usage=0.1)
    live.forward(20)
    await stream.beat(sequence=0, timestamp_ms=WALL_MS - 1, cpu_usage=0.9)
    record = live.record()
    assert (record.cpu, record.dropped, record.timestamp_ms) == (0.1, 1, WALL_MS)
    live.forward(20)
    assert live.health() == "HEALTHY"


async def test_an_equal_timestamp_is_not_out_of_order(live: Running) -> None:
    stream = await live.worker(timestamp_ms=WALL_MS, cpu_usage=0.1)
    await stream.beat(sequence=0, timestamp_ms=WALL_MS, cpu_usage=0.2)
    assert (live.record().cpu, live.record().dropped) == (0.2, 0)


async def test_three_older_samples_in_a_row_mean_that_the_clock_was_set_back(live: Running) -> None:
    stream = await live.worker(timestamp_ms=WALL_MS, cpu_usage=0.1)
    seen = []
    for number in range(1, 5):
        await stream.beat(sequence=0, timestamp_ms=WALL_MS - 1_000_000 + number, cpu_usage=0.2)
        seen.append(live.record().cpu)
    assert seen == [0.1, 0.1, 0.2, 0.2]
    assert live.record().timestamp_ms == WALL_MS - 1_000_000 + 4


async def test_a_newer_sample_between_them_starts_that_count_again(live: Running) -> None:
    stream = await live.worker(timestamp_ms=WALL_MS, cpu_usage=0.1)
    for offset in (-5, -4, 1, -3, -2):
        await stream.beat(sequence=0, timestamp_ms=WALL_MS + offset, cpu_usage=0.5 if offset > 0 else 0.9)
    assert live.record().cpu == 0.5
    assert live.record().dropped == 4


async def test_without_a_timestamp_a_sample_is_newer_than_all_before(live: Running) -> None:
    stream = await live.worker(timestamp_ms=WALL_MS, cpu_usage=0.1)
    await stream.beat(sequence=0, timestamp_ms=0, cpu_usage=0.2)
    assert live.record().cpu == 0.2


async def test_a_repeated_message_is_dropped_by_its_sequence(live: Running) -> None:
    stream = await live.worker(sequence=1, cpu_usage=0.1)
    await stream.beat(sequence=2, cpu_usage=0.2)
    await stream.beat(sequence=2, cpu_usage=0.9)
    assert (live.record().cpu, live.record().dropped) == (0.2, 1)


async def test_reports_that_are_repeated_until_acknowledged_are_harmless(live: Running) -> None:
    stream = await live.sdk_worker()
    lease = (await live.assign()).decision.lease_id
    reports = [acknowledged(lease), started(lease), finished(lease, 2.0)]
    await stream.beat(reports=reports)
    record = live.record()
    before = (await live.status(), record.completed, record.occupied, list(live.core.predictor.state()))
    for _ in range(3):
        await stream.beat(reports=reports)
    assert (await live.status(), record.completed, record.occupied, list(live.core.predictor.state())) == before
    assert record.completed == 1
    assert record.occupied == 0


async def test_refused_reports_carry_their_reasons_and_the_others_of_the_message_count(live: Running) -> None:
    stream = await live.sdk_worker(slots=5)
    other = await live.worker("other", registration=registration(capabilities=["x"]))
    mine = (await live.assign("mine", excluded_workers=["other"])).decision.lease_id
    cancelled = (await live.assign("cancelled", excluded_workers=["other"])).decision.lease_id
    others = (await live.assign("others", required_capabilities=["x"])).decision.lease_id
    await live.cancel("cancelled")
    assert (await stream.next()).cancel.lease_id == cancelled
    ack = await stream.beat(
        reports=[started("nobody's"), finished("nobody's too"), started(others), started(cancelled), started(mine)]
    )
    assert refusals(ack) == {
        "nobody's": "LEASE_UNKNOWN",
        "nobody's too": "LEASE_UNKNOWN",
        others: "LEASE_OF_ANOTHER_WORKER",
        cancelled: "LEASE_ENDED",
    }
    assert all(each.message for each in ack.refused)
    ack = await stream.beat(reports=[finished(others)])
    assert refusals(ack) == {others: "LEASE_OF_ANOTHER_WORKER"}
    assert (await live.state("mine"), await live.state("others")) == ("STARTED", "PLACED")
    assert live.record("other").completed == 0
    await other.lose()


# ---------------------------------------------------------------------- delivery by the stream


async def test_a_task_goes_down_the_stream_and_its_outcome_comes_back(live: Running) -> None:
    stream = await live.sdk_worker()
    answer = await live.assign(
        "t", delivery=STREAM, tenant="acme", payload=b"\x00\xffwork", features={"bytes": 3.5},
        attributes={"dataset": "hg38"}, priority=0.9,
    )  # fmt: skip
    assert task_pb2.TaskState.Name(answer.state) == "TASK_STATE_OFFERED"
    run = (await stream.next()).run_task
    assert run.lease_id == answer.decision.lease_id
    assert run.decision_id == answer.decision.decision_id
    assert (run.task.task_id, run.task.tenant, run.task.attempt) == ("t", "acme", 1)
    assert run.task.payload == b"\x00\xffwork"
    assert dict(run.task.features) == {"bytes": 3.5}
    assert dict(run.task.attributes) == {"dataset": "hg38"}
    assert run.ack_within.seconds == 5
    assert run.predicted_duration.ToTimedelta().total_seconds() == 5.0
    await stream.beat(reports=[acknowledged(run.lease_id)])
    assert await live.state(tenant="acme") == "ACKNOWLEDGED"
    live.forward(2)
    await stream.beat(reports=[started(run.lease_id)], running=listing(run.lease_id, elapsed_s=0))
    assert await live.state(tenant="acme") == "STARTED"
    live.forward(3)
    await stream.beat(reports=[finished(run.lease_id, 3.0, result=b"\x01done")], running=listing())
    status = await live.status(tenant="acme")
    assert task_pb2.TaskState.Name(status.state) == "TASK_STATE_FINISHED"
    assert status.outcome.status == task_pb2.OUTCOME_STATUS_SUCCEEDED
    assert (status.outcome.result, status.outcome.duration.seconds) == (b"\x01done", 3)
    assert [
        each.ToMilliseconds() - WALL_MS
        for each in (status.submitted_at, status.placed_at, status.started_at, status.ended_at)
    ] == [0, 0, 2_000, 5_000]
    assert live.record().free == 2


async def test_only_workers_that_take_tasks_from_their_stream_are_given_any(live: Running) -> None:
    await live.worker("bare")
    await live.worker("reports", registration=registration(reports_outcomes=True))
    problem = await live.refuse(delivery=STREAM)
    assert (problem.code, problem.reason) == ("FAILED_PRECONDITION", "NO_CAPABLE_WORKER")
    assert problem.rejections() == {"REJECTION_REASON_NOT_ACCEPTING": 2}


async def test_a_declined_task_is_set_aside_when_it_has_no_attempt_left(live: Running) -> None:
    stream = await live.sdk_worker(slots=1)
    await live.assign("t", delivery=STREAM, max_attempts=1)
    run = (await stream.next()).run_task
    await stream.beat(reports=[declined(run.lease_id, "no such handler")])
    assert await live.state() == "SET_ASIDE"
    problem = await live.refuse("t", delivery=STREAM, max_attempts=1)
    assert (problem.code, problem.reason) == ("ABORTED", "ATTEMPT_LOST")
    assert problem.metadata["next_attempt"] == "2"
    declines = [event for event in live.app.shell.events.entries if event.kind is FleetEventKind.TASK_DECLINED]
    assert [event.detail for event in declines] == ["t, attempt 1: no such handler"]
    assert (await live.assign("t", delivery=STREAM, max_attempts=1, attempt=2)).decision.worker_id == "w"


async def test_a_returned_task_goes_where_there_is_a_slot_as_its_next_attempt(live: Running) -> None:
    stream = await live.sdk_worker(slots=1)
    await live.assign("t", delivery=STREAM)
    run = (await stream.next()).run_task
    other = await live.sdk_worker("other", slots=1)
    await stream.beat(intent=worker_pb2.WORKER_INTENT_DRAIN, reports=[returned(run.lease_id)])
    again = (await other.next()).run_task
    assert (again.task.task_id, again.task.attempt) == ("t", 2)
    assert again.lease_id != run.lease_id
    assert await live.state() == "OFFERED"
    assert (await live.assign("t", delivery=STREAM)).decision.lease_id == again.lease_id  # the same task to its caller


@pytest.mark.parametrize("within_s", [4.999, 5.001])
async def test_an_offer_not_acknowledged_in_time_ends_the_session_before_the_lease(
    live: Running, within_s: float
) -> None:
    stream = await live.sdk_worker()
    lease = (await live.assign("t", delivery=STREAM)).decision.lease_id
    assert (await stream.next()).run_task.lease_id == lease
    live.forward(within_s)
    if within_s < 5:
        assert await live.state() == "OFFERED"
        await stream.beat(reports=[acknowledged(lease)])
        live.forward(10)
        assert await live.state() == "ACKNOWLEDGED"
        return
    goodbye = await stream.goodbye()
    assert goodbye.reason == worker_pb2.GOODBYE_REASON_FENCED
    assert goodbye.reconnect_after.ToTimedelta().total_seconds() > 0
    assert await live.state() == "WAITING"
    assert live.told(FleetEventKind.WORKER_FENCED)
    assert not live.record().connected
    # The worker is back, and learns that the lease is no longer its own.
    again = await live.worker(running=listing(lease), queue_depth=1)
    assert verdicts(again.welcome) == {lease: "STOP"}


async def test_a_cancelled_task_is_recalled_from_its_worker(live: Running) -> None:
    stream = await live.sdk_worker(slots=1)
    await live.assign("t", delivery=STREAM)
    lease = (await stream.next()).run_task.lease_id
    await stream.beat(reports=[started(lease)])
    answer = await live.cancel(reason="not needed")
    assert answer.worker_told
    directive = (await stream.next()).cancel
    assert (directive.lease_id, directive.reason) == (lease, "not needed")
    assert await live.state() == "CANCELLED"
    assert (await live.refuse("next")).reason == "NO_FREE_SLOT", "it has yet to stop"
    await stream.beat(running=worker_pb2.RunningLeases())
    assert (await live.assign("next")).decision.worker_id == "w"
    # What the worker says of it afterwards changes nothing.
    await stream.beat(reports=[finished(lease, status=task_pb2.OUTCOME_STATUS_CANCELLED)])
    assert await live.state() == "CANCELLED"
    assert live.record().occupied == 1


async def test_a_worker_is_never_given_more_than_its_slots(live: Running) -> None:
    stream = await live.sdk_worker(slots=2)
    for number in range(2):
        await live.assign(f"t{number}", delivery=STREAM)
    problem = await live.refuse("t2", delivery=STREAM)
    assert (problem.code, problem.reason) == ("RESOURCE_EXHAUSTED", "NO_FREE_SLOT")
    assert {(await stream.next()).run_task.task.task_id for _ in range(2)} == {"t0", "t1"}


async def test_reporting_makes_a_bare_worker_tracked(live: Running) -> None:
    await live.worker(queue_depth=1)
    lease = (await live.assign()).decision.lease_id
    assert live.record().accounting.name == "SAMPLED"
    await live.report(lease, duration=span(1))
    assert live.record().accounting.name == "TRACKED"
    assert live.told(FleetEventKind.WORKER_ACCOUNTING_CHANGED)


async def test_a_lost_stream_frees_what_the_server_holds_for_it(live: Running) -> None:
    streams: list[Stream] = [await live.worker(f"w{number}") for number in range(20)]
    assert len(live.app.streams) == 20
    for stream in streams:
        await stream.lose()
    await until(lambda: len(live.app.streams) == 0, "all sessions are over")
    assert not live.core.link.sessions


async def test_a_server_that_did_not_run_for_an_hour_removes_nobody_before_it_has_listened(live: Running) -> None:
    stream = await live.sdk_worker()
    live.sleep(3_600)
    assert "w" in live.core.fleet.records
    await stream.beat()
    live.forward(31)
    assert "w" in live.core.fleet.records


async def test_a_worker_that_stays_silent_after_the_server_slept_is_removed_when_it_has_listened(live: Running) -> None:
    await live.sdk_worker()
    live.sleep(3_600)
    live.forward(28)
    assert "w" in live.core.fleet.records
    live.forward(3)
    assert "w" not in live.core.fleet.records
