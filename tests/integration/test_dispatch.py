"""Tasks that come by a Redis stream: a real Redis, a real server, real workers."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from scheduler_api.v1 import admin_service_pb2, admin_service_pb2_grpc, task_pb2, worker_pb2
from scheduler_server.assignment.events import Cancel
from scheduler_server.assignment.queue_settings import QueueSettings
from scheduler_server.assignment.settings import AssignmentSettings
from scheduler_server.dispatch.intake import Met
from scheduler_server.registry.settings import WorkerSettings
from tests.dispatch_house import DEAD, DURABLE, GROUP, TASKS, Running, Stream, running, settings, until
from tests.redis_server import KINDS, executable, redis_server


@pytest.fixture
def stream(tmp_path: Path) -> Iterator[Stream]:
    with redis_server(tmp_path / "redis", *DURABLE) as server:
        yield Stream(server)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_task_that_is_added_runs_once_and_its_entry_is_acknowledged(kind: str, tmp_path: Path) -> None:
    with redis_server(tmp_path / "redis", *DURABLE, program=executable(kind)) as redis:
        stream = Stream(redis)
        async with running(settings(redis.url, tmp_path / "state")) as server:
            server.workers.start("w")
            stream.add("t", payload=b"\x00\xff")
            await until(lambda: server.workers.ran, "it runs")
            assert server.workers.ran == [("t", 1, b"\x00\xff", "w")]
            await until(stream.idle, "its entry is acknowledged")
            assert not stream.dead()
            assert stream.client.xlen(TASKS) == 1


async def test_what_stood_in_the_stream_before_the_first_server_came_is_run(stream: Stream) -> None:
    for number in range(300):
        stream.add(f"t{number}")
    async with running(settings(stream.server.url)) as server:
        server.workers.start("w", slots=8)
        await until(lambda: len(server.workers.ran) == 300, "all run")
        assert set(server.workers.count().values()) == {1}
        await until(stream.idle, "all are acknowledged")


async def test_a_backlog_read_entry_by_entry_is_run_and_acknowledged_to_the_last(stream: Stream) -> None:
    for number in range(100):
        stream.add(f"t{number}")
    async with running(settings(stream.server.url, dispatch={"batch": 1})) as server:
        server.workers.start("w", slots=8)
        await until(lambda: len(server.workers.ran) == 100, "all run")
        assert set(server.workers.count().values()) == {1}
        await until(stream.idle, "all are acknowledged, those too that no read was left for")
        await until(lambda: server.dispatcher.acknowledged == 100, "and counted, once each")
        assert not len(server.dispatcher.outbox)


async def test_an_entry_is_acknowledged_when_its_worker_has_the_task_and_not_before(stream: Stream) -> None:
    async with running(settings(stream.server.url)) as server:
        stream.add("t")
        await until(lambda: len(server.app.core.queue.waiting) == 1, "it waits")
        assert stream.pending() == 1
        server.workers.gate.clear()
        server.workers.start("w")
        await until(lambda: server.workers.ran, "it runs")
        await until(stream.idle, "it is acknowledged while it runs")


async def test_every_field_of_a_task_can_be_said_by_a_field_of_the_entry(stream: Stream) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    async with running(settings(stream.server.url)) as server:
        stream.add(
            "t", attempt="2", tenant="a", category="bug", priority="0.9", user="u", caller_choice="w9",
            required_capabilities=json.dumps(["gpu", "fast"]), excluded_workers='["w1"]',
            match_labels='{"zone": "b"}', features='{"bytes": 1.5}', attributes='{"set": "x"}',
            requested_resources='{"cpus": 2}', hints='{"expected_duration": "2.5s", "dependencies": 3}',
            start_by=soon.isoformat(), loss_policy="LOSS_POLICY_REQUEUE", max_attempts="5", payload=b"\xff",
        )  # fmt: skip
        waiter = await until(lambda: server.app.core.queue.waiting.by_task.get(("a", "t")), "it waits")
        task = waiter.event.task
        assert (task.attempt, task.category, task.priority, task.user, task.caller_choice) == (2, "bug", 0.9, "u", "w9")
        assert (task.required, task.excluded, task.labels) == (("fast", "gpu"), ("w1",), (("zone", "b"),))
        assert (task.features, task.attributes) == ((("bytes", 1.5),), (("set", "x"),))
        assert (task.resources, task.max_attempts, task.payload) == ((("cpus", 2.0),), 5, b"\xff")
        assert task.loss_policy.name == "REQUEUE"
        assert task.hints is not None
        assert (task.hints.expected_duration_ms, task.hints.dependencies) == (2_500.0, 3)
        assert task.start_by == pytest.approx(soon.timestamp())


async def test_a_whole_message_in_one_field_is_the_same_task(stream: Stream) -> None:
    async with running(settings(stream.server.url)) as server:
        server.workers.start("w")
        message = task_pb2.Task(task_id="t", task_type="work", payload=b"p")
        stream.client.xadd(TASKS, {"task": message.SerializeToString()})
        await until(stream.idle, "it is done")
        assert server.workers.ran == [("t", 1, b"p", "w")]


BAD = {
    "missing": ({"task_id": "t"}, "INVALID", "task_type: is required"),
    "extra": ({"task_id": "t", "task_type": "work", "colour": "red"}, "INVALID", "colour: no field of a task"),
    "long": ({"task_id": "t" * 257, "task_type": "work"}, "INVALID", "has 257 characters; the limit is 256"),
    "payload": ({"task_id": "t", "task_type": "w", "payload": bytes(65_537)}, "INVALID", "the limit is 65,536"),
    "huge": ({"task_id": "t", "task_type": "w", "labels" * 9: bytes(2 << 20)}, "INVALID", "no field of a task"),
    "json": ({"task_id": "t", "task_type": "w", "features": "{"}, "UNDECODABLE", "features:"),
    "deep": ({"task_id": "t", "task_type": "w", "features": "[" * 100_000}, "UNDECODABLE", "features:"),
    "number": ({"task_id": "t", "task_type": "w", "priority": "high"}, "UNDECODABLE", "priority: is no number"),
    "nan": ({"task_id": "t", "task_type": "w", "priority": "nan"}, "UNDECODABLE", "priority: is no finite number"),
    "range": ({"task_id": "t", "task_type": "w", "priority": "1.1"}, "INVALID", "priority: must be between 0 and 1"),
    "attempt": ({"task_id": "t", "task_type": "w", "attempt": "-1"}, "UNDECODABLE", "attempt: is no whole number"),
    "big": ({"task_id": "t", "task_type": "w", "attempt": "9" * 30}, "UNDECODABLE", "attempt:"),
    "utf8": ({"task_id": b"\xff", "task_type": "w"}, "UNDECODABLE", "task_id: is not UTF-8"),
    "name": ({b"\xff\x00": b"x", "task_id": "t", "task_type": "w"}, "INVALID", "no field of a task"),
    "message": ({"task": b"\xff\xff"}, "UNDECODABLE", "task: the bytes are no"),
    "both": ({"task": b"", "task_id": "t"}, "INVALID", "beside it there is task_id"),
    "slots": ({"task_id": "t", "task_type": "w", "slots": "2"}, "INVALID", "more than one slot"),
    "late": ({"task_id": "t", "task_type": "w", "start_by": "2020-01-01T00:00:00Z"}, "EXPIRED", "which is past"),
}


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_entry_is_set_aside_once_with_its_reason_and_the_next_one_runs(stream: Stream, name: str) -> None:
    fields, reason, detail = BAD[name]
    entry_id = stream.client.xadd(TASKS, fields).decode()
    stream.add("good")
    async with running(settings(stream.server.url)) as server:
        server.workers.start("w")
        await until(lambda: server.workers.ran, "the good one runs")
        await until(stream.idle, "both are acknowledged")
        (letter,) = stream.dead()
        assert letter["reason"] == reason
        assert detail in letter["detail"]
        assert letter["source"] == f"{TASKS} {entry_id}"
        assert len(letter.get("raw", "")) <= 4_096 * 3  # bytes that are no text became three each
        assert server.workers.count() == {"good": 1}


async def test_the_same_task_twice_runs_once_and_both_entries_are_acknowledged(stream: Stream) -> None:
    async with running(settings(stream.server.url)) as server:
        stream.add("t")
        stream.add("t")
        stream.add("u")
        await until(lambda: len(server.dispatcher.holdings) == 3, "all are read")
        assert len(server.app.core.queue.waiting) == 2
        server.workers.start("w")
        await until(stream.idle, "all are acknowledged")
        stream.add("t")
        await until(stream.idle, "and one that comes when it has run")
        assert server.workers.count() == {"t": 1, "u": 1}
        assert not stream.dead()


async def test_one_task_id_with_another_body_is_set_aside(stream: Stream) -> None:
    async with running(settings(stream.server.url)) as server:
        stream.add("t")
        stream.add("t", priority="0.9")
        await until(stream.dead, "the second is set aside")
        (letter,) = stream.dead()
        assert letter["reason"] == "INVALID"
        assert "a different body" in letter["detail"]
        assert len(server.app.core.queue.waiting) == 1


# ---------------------------------------------------------------------- room


async def test_with_a_full_index_nothing_more_is_read_until_there_is_room(stream: Stream) -> None:
    for number in range(60):
        stream.add(f"t{number}")
    bound = QueueSettings(max_length=20, tenant_share=1.0)
    async with running(settings(stream.server.url, queue=bound, dispatch={"batch": 7})) as server:
        await until(lambda: len(server.app.core.queue.waiting) == 20, "it is full")
        assert stream.pending() == 20
        server.workers.start("w", slots=4)
        await until(lambda: len(server.workers.ran) == 60, "all run")
        await until(stream.idle, "all are acknowledged")
        assert set(server.workers.count().values()) == {1}


async def test_a_tenant_with_its_share_does_not_keep_others_out(stream: Stream) -> None:
    for number in range(30):
        stream.add(f"t{number}", tenant="a")
    stream.add("other", tenant="b")
    bound = QueueSettings(max_length=40, tenant_share=0.25)
    async with running(settings(stream.server.url, queue=bound)) as server:
        await until(lambda: ("b", "other") in server.app.core.queue.waiting.by_task, "the other one is in view")
        assert len(server.app.core.queue.waiting) == 11
        server.workers.start("w", slots=4)
        await until(lambda: len(server.workers.ran) == 31, "all run")
        await until(stream.idle, "all are acknowledged")
        assert set(server.workers.count().values()) == {1}


async def test_near_the_bound_the_urgent_stream_is_read_first(stream: Stream) -> None:
    urgent, rest = "{t}:urgent", "{t}:rest"
    for number in range(40):
        stream.add(f"r{number}", stream=rest)
    bound = QueueSettings(max_length=20, tenant_share=1.0)
    names = {"streams": (urgent, rest), "dead_letters": "{t}:dead", "batch": 4}
    async with running(settings(stream.server.url, queue=bound, dispatch=names)) as server:
        waiting = server.app.core.queue.waiting.by_task
        await until(lambda: len(waiting) == 18, "the rest fills what is not kept for the urgent")
        for number in range(5):
            stream.add(f"u{number}", stream=urgent)
        await until(lambda: len(waiting) == 20, "the urgent find room")
        assert {("", "u0"), ("", "u1")} <= set(waiting)
        server.workers.start("w", slots=4)
        await until(lambda: len(server.workers.ran) == 45, "all run")
        await until(lambda: stream.idle(urgent) and stream.idle(rest), "all are acknowledged")


async def test_payloads_beyond_their_share_of_memory_stay_in_redis_until_the_task_is_handed_over(
    stream: Stream, tmp_path: Path
) -> None:
    payloads = {f"t{number}": bytes([number]) * 60_000 for number in range(12)}
    for task_id, payload in payloads.items():
        stream.add(task_id, payload=payload)
    bound = QueueSettings(max_payload_bytes=400_000)
    async with running(settings(stream.server.url, tmp_path / "state", queue=bound)) as server:
        waiting = server.app.core.queue.waiting
        await until(lambda: len(waiting) == 12, "all wait")
        assert waiting.payload_bytes <= 200_000
        server.workers.start("w", slots=3)
        await until(lambda: len(server.workers.ran) == 12, "all run")
        assert {task_id: payload for task_id, _, payload, _ in server.workers.ran} == payloads
        await until(stream.idle, "all are acknowledged")


async def test_a_payload_whose_entry_is_gone_is_set_aside_and_its_slot_is_free_again(stream: Stream) -> None:
    stream.add("big", payload=bytes(60_000))
    async with running(settings(stream.server.url, queue=QueueSettings(max_payload_bytes=1_000))) as server:
        await until(lambda: len(server.app.core.queue.waiting) == 1, "it waits")
        stream.client.xtrim(TASKS, maxlen=0)
        server.workers.start("w", slots=1)
        (letter,) = await until(stream.dead, "it is set aside")
        assert letter["reason"] == "INVALID"
        assert "removed from the stream" in letter["detail"]
        stream.add("small")
        await until(lambda: server.workers.count() == {"small": 1}, "the next one runs")


# ---------------------------------------------------------------------- who dies


async def test_a_server_that_comes_back_goes_on_with_what_it_had(stream: Stream, tmp_path: Path) -> None:
    async with running(settings(stream.server.url, tmp_path / "state")) as server:
        for number in range(10):
            stream.add(f"t{number}")
        await until(lambda: len(server.app.core.queue.waiting) == 10, "all wait")
        first = server.dispatcher.consumer
    assert stream.pending() == 10
    async with running(settings(stream.server.url, tmp_path / "state")) as server:
        assert server.dispatcher.consumer == first
        server.workers.start("w")
        await until(lambda: len(server.workers.ran) == 10, "all run")
        await until(stream.idle, "all are acknowledged")


async def test_what_a_dead_server_left_is_taken_over_by_another(stream: Stream, tmp_path: Path) -> None:
    stream.client.xgroup_create(TASKS, GROUP, id="0", mkstream=True)
    for number in range(700):  # more than one page
        stream.add(f"t{number}")
    stream.client.xreadgroup(GROUP, "dead", {TASKS: ">"}, count=1_000)
    async with running(settings(stream.server.url, dispatch={"claim_after_s": 1.0})) as server:
        server.workers.start("w", slots=8)
        await until(lambda: len(server.workers.ran) == 700, "all run")
        await until(stream.idle, "all are acknowledged")
        assert set(server.workers.count().values()) == {1}


async def test_what_a_living_server_holds_is_not_taken_from_it(stream: Stream, tmp_path: Path) -> None:
    one = settings(stream.server.url, tmp_path / "one", dispatch={"claim_after_s": 1.0})
    two = settings(stream.server.url, tmp_path / "two", dispatch={"claim_after_s": 1.0})
    async with running(one) as first:
        for number in range(1_200):  # more than two pages
            stream.add(f"t{number}")
        await until(lambda: len(first.app.core.queue.waiting) == 1_200, "all wait")
        async with running(two) as second:
            began = second.app.shell.now().monotonic
            await until(lambda: second.app.shell.now().monotonic > began + 3.0, "three times as long has passed")
            assert len(first.app.core.queue.waiting) == 1_200
            assert not second.dispatcher.holdings.known
            for server in (first, second):  # neither its own entries nor another's were taken for a dead server's
                assert not server.dispatcher.intake.met[Met.CLAIMED]
                assert not server.dispatcher.intake.met[Met.YIELDED]
            assert first.dispatcher.consumer != second.dispatcher.consumer


async def test_what_another_server_has_taken_is_not_run_here(stream: Stream) -> None:
    async with running(settings(stream.server.url, dispatch={"claim_after_s": 3.0})) as server:
        entry_id = stream.add("t")
        await until(lambda: len(server.app.core.queue.waiting) == 1, "it waits")
        stream.client.xclaim(TASKS, GROUP, "other", 0, [entry_id])
        await until(lambda: not server.app.core.queue.waiting.by_task, "it is let go")
        server.workers.start("w")
        stream.add("u")
        await until(lambda: server.workers.count() == {"u": 1}, "only the other one runs")
        await until(lambda: stream.pending() == 1, "and is acknowledged")
        assert server.workers.count() == {"u": 1}


async def test_a_server_that_could_not_refresh_asks_before_it_hands_over(stream: Stream, tmp_path: Path) -> None:
    async with running(settings(stream.server.url, tmp_path / "state")) as server:
        lost, kept = stream.add("lost", max_attempts="1"), stream.add("kept")
        await until(lambda: len(server.app.core.queue.waiting) == 2, "both wait")
        stream.client.xclaim(TASKS, GROUP, "other", 0, [lost])
        server.dispatcher.ownership.refreshed_at -= 3_600.0  # as after a stop of an hour
        server.workers.start("w")
        await until(lambda: server.workers.count() == {"kept": 1}, "what is still ours runs")
        await until(lambda: stream.pending() == 1, "and is acknowledged")
        assert stream.client.xpending_range(TASKS, GROUP, "-", "+", 10)[0]["consumer"] == b"other"
        assert server.workers.count() == {"kept": 1}
        assert kept
        assert not stream.dead()


async def test_two_servers_share_one_stream_and_run_each_task_once(stream: Stream, tmp_path: Path) -> None:
    one, two = (settings(stream.server.url, tmp_path / name) for name in ("one", "two"))
    async with running(one) as first, running(two) as second:
        first.workers.start("a", slots=4)
        second.workers.start("b", slots=4)
        await until(lambda: first.dispatcher.link.works and second.dispatcher.link.works, "both read")
        for number in range(400):
            stream.add(f"t{number}")
        await until(lambda: len(first.workers.ran) + len(second.workers.ran) == 400, "all run")
        await until(stream.idle, "all are acknowledged")
        counted = first.workers.count() + second.workers.count()
        assert set(counted.values()) == {1}
        assert first.workers.ran
        assert second.workers.ran


async def test_an_entry_that_was_delivered_too_often_is_set_aside(stream: Stream) -> None:
    stream.client.xgroup_create(TASKS, GROUP, id="0", mkstream=True)
    ids = [stream.add("t"), stream.add("u")]
    stream.client.xreadgroup(GROUP, "dead", {TASKS: ">"})
    stream.client.xclaim(TASKS, GROUP, "dead", 0, ids[:1], retrycount=3)
    stream.client.xclaim(TASKS, GROUP, "dead", 0, ids[1:], retrycount=2)
    async with running(settings(stream.server.url, dispatch={"claim_after_s": 1.0, "max_deliveries": 3})) as server:
        server.workers.start("w")
        (letter,) = await until(stream.dead, "it is set aside")
        assert letter["reason"] == "DELIVERIES_EXHAUSTED"
        assert (letter["task_id"], letter["task_type"]) == ("t", "work")
        await until(lambda: server.workers.count() == {"u": 1}, "the other one runs")
        await until(stream.idle, "both are acknowledged")


async def test_a_task_that_expires_while_it_waits_is_set_aside(stream: Stream) -> None:
    async with running(settings(stream.server.url)):
        soon = (datetime.now(UTC) + timedelta(seconds=0.5)).isoformat()
        stream.add("t", start_by=soon)
        (letter,) = await until(stream.dead, "it is set aside")
        assert (letter["reason"], letter["task_id"], letter["attempts"]) == ("EXPIRED", "t", "1")
        await until(stream.idle, "it is acknowledged")


async def test_a_task_that_is_cancelled_while_it_waits_is_only_acknowledged(stream: Stream) -> None:
    async with running(settings(stream.server.url)) as server:
        stream.add("t")
        await until(lambda: len(server.app.core.queue.waiting) == 1, "it waits")
        server.app.shell.handle(Cancel("", "t", 1))
        await until(stream.idle, "it is acknowledged")
        assert not stream.dead()


async def test_a_task_that_no_worker_takes_is_set_aside_with_its_workers(stream: Stream, tmp_path: Path) -> None:
    """A worker that acknowledges nothing: fenced, and after as many attempts as it may have the task is set aside."""
    # The time counts from the lease, and the offer follows when that is on disk: on a busy one not within 0.2 s.
    fast = AssignmentSettings(ack_within_s=1.5)
    async with running(settings(stream.server.url, tmp_path / "state", assignment=fast)) as server:
        stream.add("t", max_attempts="2")
        async with grpc.aio.insecure_channel(server.app.address) as channel:
            for boot in ("1", "2"):
                await _deaf(channel, boot)
        (letter,) = await until(stream.dead, "it is set aside")
        assert (letter["reason"], letter["attempts"], letter["workers"]) == (
            "ATTEMPTS_EXHAUSTED",
            "2",
            '["deaf", "deaf"]',
        )
        assert task_pb2.Task.FromString(stream.client.xrange(DEAD)[0][1][b"task"]).task_id == "t"
        await until(stream.idle, "its entry is acknowledged")


async def _deaf(channel: grpc.aio.Channel, boot: str) -> None:
    """A worker that registers, and says nothing of what it is given, until it is thrown out."""
    call: Any = channel.stream_stream(
        "/scheduler_api.v1.ScheduleService/Schedule",
        request_serializer=worker_pb2.WorkerHeartbeat.SerializeToString,
        response_deserializer=worker_pb2.WorkerDirective.FromString,
    )()
    registration = worker_pb2.WorkerRegistration(accepts_tasks=True, max_concurrent_tasks=1)
    epoch = worker_pb2.SessionEpoch(boot_id=boot, connection=1)
    await call.write(worker_pb2.WorkerHeartbeat(worker_id="deaf", sequence=1, registration=registration, epoch=epoch))
    offered = 0
    while (got := await call.read()) is not grpc.aio.EOF:
        offered += got.HasField("run_task")
    assert offered == 1


# ---------------------------------------------------------------------- dead letters by rpc


def admin(channel: grpc.aio.Channel) -> Any:
    return admin_service_pb2_grpc.AdminServiceStub(channel)


async def test_dead_letters_are_listed_put_back_and_thrown_away(stream: Stream) -> None:
    async with running(settings(stream.server.url)) as server:
        soon = (datetime.now(UTC) + timedelta(seconds=0.3)).isoformat()
        stream.add("late", tenant="a", start_by=soon, payload=b"p")
        await until(lambda: len(stream.dead()) == 1, "one is set aside")
        stream.client.xadd(TASKS, {"task": b"\xff"})
        await until(lambda: len(stream.dead()) == 2, "another one, too")
        async with grpc.aio.insecure_channel(server.app.address) as channel:
            stub = admin(channel)
            listed = (await stub.ListDeadLetters(admin_service_pb2.ListDeadLettersRequest())).dead_letters
            assert [each.task.task_id for each in listed] == ["", "late"]
            unreadable, late = listed
            assert unreadable.reason == admin_service_pb2.DEAD_LETTER_REASON_UNDECODABLE
            assert unreadable.raw == b"task=\xff\n"
            assert (late.task.tenant, late.task_type, late.attempts) == ("a", "work", 1)
            assert late.source.startswith(f"{TASKS} ")
            assert late.at.seconds > 0
            server.workers.start("w")
            put_back = await stub.RetryDeadLetter(
                admin_service_pb2.RetryDeadLetterRequest(dead_letter_id=late.dead_letter_id, reason="again")
            )
            assert (put_back.task.task.attempt, put_back.task.state) == (2, task_pb2.TASK_STATE_WAITING)
            await until(lambda: server.workers.ran == [("late", 2, b"p", "w")], "it runs")
            for method, request in (
                (stub.RetryDeadLetter, admin_service_pb2.RetryDeadLetterRequest(dead_letter_id=late.dead_letter_id)),
                (stub.DiscardDeadLetter, admin_service_pb2.DiscardDeadLetterRequest(dead_letter_id="1-1")),
            ):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await method(request)
                assert caught.value.code() is grpc.StatusCode.NOT_FOUND
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.RetryDeadLetter(
                    admin_service_pb2.RetryDeadLetterRequest(dead_letter_id=unreadable.dead_letter_id)
                )
            assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
            await stub.DiscardDeadLetter(
                admin_service_pb2.DiscardDeadLetterRequest(dead_letter_id=unreadable.dead_letter_id)
            )
            assert not stream.dead()


async def test_dead_letters_are_filtered_and_paged_newest_first(stream: Stream) -> None:
    for number in range(250):
        stream.add(f"t{number}", priority="2" if number % 2 else "x")
    async with running(settings(stream.server.url)) as server:
        await until(lambda: len(stream.dead()) == 250, "all are set aside")
        async with grpc.aio.insecure_channel(server.app.address) as channel:
            stub = admin(channel)
            request = admin_service_pb2.ListDeadLettersRequest(
                reasons=[admin_service_pb2.DEAD_LETTER_REASON_INVALID], page_size=60
            )
            found, pages = [], 0
            while True:
                answer = await stub.ListDeadLetters(request)
                found += [each.dead_letter_id for each in answer.dead_letters]
                pages += 1
                if not answer.next_page_token:
                    break
                request.page_token = answer.next_page_token
            assert (len(found), len(set(found)), pages) == (125, 125, 3)
            assert found == sorted(found, key=lambda each: tuple(map(int, each.split("-"))), reverse=True)
            nobodys = await stub.ListDeadLetters(admin_service_pb2.ListDeadLettersRequest(tenant="a"))
            assert not nobodys.dead_letters


# ---------------------------------------------------------------------- for those who listen, and by channels


async def test_decisions_and_outcomes_are_published_to_streams(stream: Stream, tmp_path: Path) -> None:
    feeds = {"decisions": "decided", "outcomes": "ended"}
    async with running(settings(stream.server.url, tmp_path / "state", dispatch=feeds)) as server:
        server.workers.start("w")
        stream.add("t", payload=b"out")
        await until(lambda: stream.client.xlen("ended") == 1, "its end is told")
        (_, decided), (_, ended) = stream.client.xrange("decided")[0], stream.client.xrange("ended")[0]
        assert (decided[b"task_id"], decided[b"worker_id"], decided[b"attempt"]) == (b"t", b"w", b"1")
        assert decided[b"lease_id"] == ended[b"lease_id"]
        assert b"w" in decided[b"reasoning"]
        assert (ended[b"state"], ended[b"status"], ended[b"result"]) == (b"FINISHED", b"SUCCEEDED", b"out")


async def test_by_publish_a_task_goes_to_the_channel_of_its_worker(stream: Stream) -> None:
    async with running(settings(stream.server.url, dispatch={"hand_over": "publish", "channel": "to:"})) as server:
        listener = stream.client.pubsub(ignore_subscribe_messages=True)
        listener.subscribe("to:w")
        await until(lambda: stream.client.pubsub_numsub("to:w")[0][1] == 1, "it listens")
        async with grpc.aio.insecure_channel(server.app.address) as channel:
            call = await _bare(channel, "w")
            stream.add("t", payload=b"p")
            message = await until(lambda: listener.get_message(timeout=0.01), "it is published")
            run = json.loads(message["data"])
            assert run["task"]["task_id"] == "t"
            assert run["task"]["payload"] == "cA=="
            assert run["lease_id"] in server.app.core.ledger.leases
            await until(stream.idle, "its entry is acknowledged")
            call.cancel()
        listener.close()


async def test_by_publish_a_task_that_nobody_hears_goes_elsewhere(stream: Stream) -> None:
    async with running(settings(stream.server.url, dispatch={"hand_over": "publish", "channel": "to:"})) as server:
        listener = stream.client.pubsub(ignore_subscribe_messages=True)
        listener.subscribe("to:b")
        await until(lambda: stream.client.pubsub_numsub("to:b")[0][1] == 1, "it listens")
        async with grpc.aio.insecure_channel(server.app.address) as channel:
            one = await _bare(channel, "a")
            stream.add("t", max_attempts="2")
            stream.add("only-a", max_attempts="1", excluded_workers='["b"]')
            (letter,) = await until(stream.dead, "one has no attempts left")
            assert (letter["task_id"], letter["reason"]) == ("only-a", "ATTEMPTS_EXHAUSTED")
            assert "nobody listens to to:a" in letter["detail"]
            other = await _bare(channel, "b")
            message = await until(lambda: listener.get_message(timeout=0.01), "the other is published elsewhere")
            assert json.loads(message["data"])["task"]["attempt"] == 2
            await until(stream.idle, "all are acknowledged")
            one.cancel()
            other.cancel()
        listener.close()


async def _bare(channel: grpc.aio.Channel, worker_id: str) -> Any:
    """A worker of five fields."""
    call: Any = channel.stream_stream(
        "/scheduler_api.v1.ScheduleService/Schedule",
        request_serializer=worker_pb2.WorkerHeartbeat.SerializeToString,
        response_deserializer=worker_pb2.WorkerDirective.FromString,
    )()
    await call.write(worker_pb2.WorkerHeartbeat(worker_id=worker_id))
    assert (await call.read()).HasField("welcome")
    return call


# ---------------------------------------------------------------------- tidiness


async def test_what_is_done_with_is_removed_and_nothing_else(stream: Stream) -> None:
    stream.client.xgroup_create(TASKS, "audit", id="0", mkstream=True)
    quick = {"trim_every_s": 0.1, "keep_s": 0.0, "claim_after_s": 1.0}
    async with running(settings(stream.server.url, dispatch=quick)) as server:
        server.workers.start("w")
        for number in range(20):
            stream.add(f"t{number}")
        await until(lambda: len(server.workers.ran) == 20, "all run")
        await until(stream.idle, "all are acknowledged")
        held = stream.client.xreadgroup("audit", "a", {TASKS: ">"}, count=12)[0][1]
        await until(lambda: stream.client.xlen(TASKS) < 20 or _passed(server, 4.0), "nothing more can be removed")
        assert stream.client.xlen(TASKS) == 20, "another group has not acknowledged what it has"
        stream.client.xack(TASKS, "audit", *(entry_id for entry_id, _ in held))
        await until(lambda: stream.client.xlen(TASKS) == 9, "what it has not had stays, and the last that it had")


def _passed(server: Running, seconds: float) -> bool:
    return server.app.shell.now().monotonic - server.app.core.started.monotonic > seconds


async def test_a_worker_that_may_hold_many_gets_no_more_than_it_has_slots(stream: Stream) -> None:
    async with running(settings(stream.server.url, worker=WorkerSettings())) as server:
        server.workers.gate.clear()
        server.workers.start("w", slots=3)
        for number in range(10):
            stream.add(f"t{number}")
        await until(lambda: len(server.workers.ran) == 3, "three run")
        await until(lambda: stream.pending() == 7, "the others are still Redis'")
        server.workers.gate.set()
        await until(stream.idle, "all are acknowledged")
