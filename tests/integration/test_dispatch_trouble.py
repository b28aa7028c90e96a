"""Task streams in trouble: Redis is not there, dies, stalls, is full or set up wrongly; a server is killed."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from scheduler_api.v1 import admin_service_pb2, admin_service_pb2_grpc, schedule_service_pb2, schedule_service_pb2_grpc
from scheduler_server.app import App
from scheduler_server.config import ConfigError, load
from scheduler_server.settings import Settings
from tests.dispatch_house import DEAD, DURABLE, GROUP, TASKS, Running, Stream, running, settings, until
from tests.integration.processes import House, eventually, free_port
from tests.redis_server import RedisServer, any_executable, redis_server

SECRET = "geh/eim"


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path / "redis", any_executable(), *DURABLE)
    yield server
    server.stop()


@asynccontextmanager
async def stub(server: Running) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(server.app.address) as channel:
        yield admin_service_pb2_grpc.AdminServiceStub(channel)


async def tasks_of(server: Running) -> tuple[admin_service_pb2.StoreStatus, list[str]]:
    """What GetStatus says of the streams, and what is degraded."""
    async with stub(server) as admin:
        answer = await admin.GetStatus(admin_service_pb2.GetStatusRequest())
    (found,) = (each for each in answer.stores if each.name == "tasks")
    return found, [part.name for part in answer.degraded]


async def assigns(server: Running, task_id: str) -> bool:
    async with grpc.aio.insecure_channel(server.app.address) as channel:
        caller: Any = schedule_service_pb2_grpc.ScheduleServiceStub(channel)
        request = schedule_service_pb2.AssignRequest()
        request.task.task_id, request.task.task_type = task_id, "other"
        began = time.monotonic()
        answer = await caller.Assign(request)
        assert time.monotonic() - began < 1.0
        return bool(answer.decision.worker_id)


# ---------------------------------------------------------------------- not there, and back


async def test_a_server_starts_without_its_redis_and_goes_on_when_it_comes(redis: RedisServer, tmp_path: Path) -> None:
    async with running(settings(redis.url, tmp_path / "state")) as server:
        server.workers.start("w", slots=4)
        await until(lambda: server.dispatcher.link.failures, "it has tried")
        found, degraded = await tasks_of(server)
        assert found.state == admin_service_pb2.STORE_STATE_UNAVAILABLE
        assert "cannot be used: it cannot be reached: Connection refused" in found.last_error
        assert degraded == ["store.tasks"]
        await until(lambda: len(server.app.core.fleet) == 1, "its worker is there")
        assert await assigns(server, "a")
        redis.start()
        stream = Stream(redis)
        stream.add("t")
        await until(lambda: server.workers.count() == {"t": 1}, "it runs")
        await until(stream.idle, "it is acknowledged")
        found, degraded = await tasks_of(server)
        assert (found.state, found.last_error, degraded) == (admin_service_pb2.STORE_STATE_OK, "", [])
        assert (found.backend, found.written, found.pending) == ("redis", 1, 0)


async def test_redis_is_killed_and_comes_back_while_tasks_run(redis: RedisServer, tmp_path: Path) -> None:
    redis.start()
    stream = Stream(redis)
    async with running(settings(redis.url, tmp_path / "state")) as server:
        server.workers.gate.clear()
        server.workers.start("w", slots=2)
        for number in range(40):
            stream.add(f"t{number}")
        await until(lambda: len(server.workers.ran) == 2, "two run")
        await until(lambda: len(server.dispatcher.holdings) == 38, "the others are held")
        redis.stop()
        await until(lambda: server.dispatcher.link.failures, "it is noticed")
        server.workers.gate.set()
        await until(lambda: len(server.workers.ran) == 40, "what was read runs meanwhile")
        redis.start()
        await until(stream.idle, "all are acknowledged")
        stream.add("after")
        await until(stream.idle, "and one that came afterwards")
        assert set(server.workers.count().values()) == {1}
        assert len(server.workers.ran) == 41
        assert not stream.dead()


async def test_a_redis_that_stalls_holds_up_neither_assign_nor_what_was_read(
    redis: RedisServer, tmp_path: Path
) -> None:
    redis.start()
    stream = Stream(redis)
    async with running(settings(redis.url, tmp_path / "state", dispatch={"timeout_s": 0.5})) as server:
        server.workers.start("w", slots=2)
        stream.add("t")
        await until(stream.idle, "one is done")
        stream.client.close()
        redis.signal(signal.SIGSTOP)
        await until(lambda: "did not answer within" in server.dispatcher.link.last_error, "it is noticed")
        assert await assigns(server, "a")
        redis.signal(signal.SIGCONT)
        stream.add("u")
        await until(lambda: stream.idle() and server.workers.count() == {"t": 1, "u": 1}, "it goes on")


async def test_what_redis_did_without_answering_is_not_done_twice(redis: RedisServer, tmp_path: Path) -> None:
    redis.start()
    stream = Stream(redis)
    async with running(settings(redis.url, tmp_path / "state", dispatch={"timeout_s": 0.3})) as server:
        server.workers.start("w", slots=8)
        for round_ in range(5):
            for number in range(20):
                stream.add(f"{round_}-{number}")
            stream.client.xadd(TASKS, {"task": b"\xff"})
            await until(partial(_more_ran, server, 20 * round_), "some run")
            # Commands are taken now and carried out later, when nobody waits for their answers any more.
            stream.client.execute_command("CLIENT", "PAUSE", 1_200, "WRITE")
            await asyncio.sleep(0)
        await until(lambda: len(server.workers.ran) >= 100, "all run")
        await until(stream.idle, "all are acknowledged")
        assert set(server.workers.count().values()) == {1}
        assert len(stream.dead()) == 5


def _more_ran(server: Running, than: int) -> bool:
    return len(server.workers.ran) > than


async def test_a_redis_without_memory_or_rights_to_write_still_hears_what_is_acknowledged(
    redis: RedisServer, tmp_path: Path
) -> None:
    redis.start()
    stream = Stream(redis)
    async with running(settings(redis.url, tmp_path / "state")) as server:
        server.workers.start("w")
        stream.client.xadd(TASKS, {"task": b"\xff"})
        await until(stream.dead, "set aside")
        for number in range(5):
            stream.add(f"t{number}")
        bad = {"task": b"\xff" * 9}
        stream.client.xadd(TASKS, bad)
        stream.client.config_set("maxmemory", "1mb")
        await until(lambda: len(server.workers.ran) == 5, "all run")
        stream.client.config_set("maxmemory", 0)
        await until(stream.idle, "all are acknowledged")
        await until(lambda: len(stream.dead()) == 2, "and the bad one is set aside")
        redis_port = free_port()
        stream.client.replicaof("127.0.0.1", redis_port)
        await until(lambda: "read-only replica" in server.dispatcher.link.last_error, "it is told")
        stream.client.replicaof("NO", "ONE")
        stream.add("after")
        await until(stream.idle, "it goes on")
        assert set(server.workers.count().values()) == {1}


async def test_streams_that_vanish_are_made_anew(redis: RedisServer, tmp_path: Path) -> None:
    redis.start()
    stream = Stream(redis)
    async with running(settings(redis.url, tmp_path / "state")) as server:
        stream.add("waits")
        await until(lambda: len(server.app.core.queue.waiting) == 1, "it waits")
        stream.client.flushall()
        stream.add("t")
        server.workers.start("w")
        await until(lambda: server.workers.count() == {"waits": 1, "t": 1}, "both run")
        await until(stream.idle, "it is acknowledged")


# ---------------------------------------------------------------------- set up wrongly


async def line_of(configured: Settings) -> str:
    """What a server says that cannot use its Redis."""
    async with running(configured) as server:
        await until(lambda: server.dispatcher.link.failures, "it has tried")
        line = server.dispatcher.link.last_error
        assert "\n" not in line
        assert "geh" not in line
        return line


async def test_each_way_of_being_set_up_wrongly_is_one_clear_line(tmp_path: Path) -> None:
    assert "cannot be reached" in await line_of(settings("redis://no-such-host.invalid"))
    with redis_server(tmp_path / "r", "--requirepass", SECRET, password=SECRET) as server:
        right = "geh%2Feim"
        assert "it wants a password, and the URL has none" in await line_of(settings(server.url))
        wrong = f"redis://:x{right}@127.0.0.1:{server.port}"
        assert "user or password is wrong" in await line_of(settings(wrong))
        client = server.client(password=SECRET)
        url = f"redis://:{right}@127.0.0.1:{server.port}"
        client.rpush(TASKS, "mine")
        line = await line_of(settings(url))
        assert f"dispatch.streams: the key {TASKS!r} holds a list, no stream" in line
        client.delete(TASKS)
        client.set(DEAD, "mine")
        assert f"dispatch.dead_letters: the key {DEAD!r} holds a string" in await line_of(settings(url))
        client.execute_command("ACL", "SETUSER", "a", "on", f">{SECRET}", "~*", "-@all", "+info", "+type")
        limited = f"redis://a:{right}@127.0.0.1:{server.port}"
        client.delete(DEAD)
        assert "the user may not run what task streams need" in await line_of(settings(limited))
    with redis_server(tmp_path / "c", "--cluster-enabled", "yes") as server:
        url = f"redis+cluster://127.0.0.1:{server.port}"
        assert "not every slot is served" in await line_of(settings(url))


def test_what_cannot_work_is_refused_before_the_start() -> None:
    def refusal(**given: str) -> str:
        words = [word for name, value in given.items() for word in (f"--dispatch-{name.replace('_', '-')}", value)]
        with pytest.raises(ConfigError) as caught:
            load(Settings, words, {})
        return "; ".join(map(str, caught.value.faults))

    assert "must begin with redis://" in refusal(url="http://x")
    cluster = refusal(url="redis+cluster://h:1", streams="{a}:tasks,{b}:tasks", dead_letters="{a}:dead")
    assert "dispatch.streams" in cluster
    assert "'{b}:tasks' is in slot 3300 of the cluster and '{a}:tasks' in slot 15495" in cluster
    assert "is named by dispatch.streams already" in refusal(dead_letters="x", streams="x")
    assert "must name at least one stream" in refusal(streams="")


async def test_in_a_cluster_tasks_run_and_bad_entries_are_set_aside(tmp_path: Path) -> None:
    with redis_server(tmp_path / "c", "--cluster-enabled", "yes", "--save", "") as redis:
        client = redis.client()
        client.execute_command("CLUSTER", "ADDSLOTS", *range(16_384))
        await until(
            lambda: b"cluster_state:ok" in client.execute_command("CLUSTER", "INFO", NEVER_DECODE=True), "it is up"
        )
        stream = Stream(redis)
        # Single entries: then acknowledgements go along with reads.
        feeds = {"decisions": "decided", "outcomes": "ended", "trim_every_s": 0.1, "claim_after_s": 1.0, "batch": 1}
        url = f"redis+cluster://127.0.0.1:{redis.port}"
        async with running(settings(url, tmp_path / "state", dispatch=feeds)) as server:
            server.workers.start("w")
            stream.add("t")
            stream.client.xadd(TASKS, {"task": b"\xff"})
            await until(lambda: server.workers.ran, "it runs")
            await until(stream.idle, "both are acknowledged")
            assert len(stream.dead()) == 1
            await until(lambda: client.xlen("ended") == 1 and client.xlen("decided") == 1, "both are told")
            for number in range(20):
                stream.add(f"t{number}")
            await until(lambda: len(server.workers.ran) == 21 and stream.idle(), "the others run and are acknowledged")
            assert not server.dispatcher.link.failures


@pytest.mark.parametrize(
    ("words", "caution"),
    [
        ((), "appendonly is no"),
        (("--appendonly", "yes", "--appendfsync", "everysec"), "appendfsync is everysec, not always"),
        (("--appendonly", "yes", "--appendfsync", "no"), "appendfsync is no, not always"),
        ((*DURABLE, "--maxmemory-policy", "allkeys-lru"), "maxmemory-policy is allkeys-lru"),
    ],
)
async def test_settings_of_redis_that_could_lose_tasks_are_named(
    words: tuple[str, ...], caution: str, tmp_path: Path
) -> None:
    with redis_server(tmp_path / "r", *words) as redis:
        async with running(settings(redis.url, tmp_path / "state")) as server:
            await until(lambda: server.dispatcher.link.works, "it is there")
            found, degraded = await tasks_of(server)
            assert [each for each in found.warnings if caution in each]
            assert len(found.warnings) == 1
            assert (found.state, degraded) == (admin_service_pb2.STORE_STATE_OK, [])


async def test_with_safe_settings_nothing_is_named_and_what_may_not_be_asked_is_unknown(
    redis: RedisServer, tmp_path: Path
) -> None:
    redis.start()
    client = redis.client()
    client.execute_command("ACL", "SETUSER", "a", "on", ">x", "~*", "&*", "+@all", "-info", "-config")
    async with running(settings(redis.url)) as server:
        await until(lambda: server.dispatcher.link.works, "it is there")
        assert not server.dispatcher.link.warnings
    async with running(settings(f"redis://a:x@127.0.0.1:{redis.port}")) as server:
        await until(lambda: server.dispatcher.link.works, "it is there")
        (warning,) = server.dispatcher.link.warnings
        assert (
            "may not be asked for appendonly, appendfsync, maxmemory-policy: whether it can lose tasks is unknown"
            in warning
        )


# ---------------------------------------------------------------------- the server is killed


async def test_a_killed_server_runs_nothing_twice_that_redis_had_not_heard_of(house: House, redis: RedisServer) -> None:
    """Tasks run and end while Redis takes nothing; then the server is killed. The entries come again, the tasks not."""
    redis.start()
    stream = Stream(redis)
    port = free_port()
    words = {"dispatch_url": redis.url, "dispatch_timeout_s": "0.5"}
    server = await house.server(port=port, **words)
    stream.add("first", task_type="digest", payload="x")
    await eventually(lambda: _idle(stream), "its stream is there")
    for number in range(20):
        stream.add(f"t{number}", task_type="nap", payload='{"s": 0.01}')
    await until(lambda: stream.pending() == 21, "all are read")
    redis.signal(signal.SIGSTOP)
    (worker,) = await house.workers(server, "w", slots=4)
    await until(lambda: len(worker.ended_tasks()) == 20, "all have run")
    await asyncio.sleep(0.3)  # their ends have been told, and written down
    server.close()
    redis.signal(signal.SIGCONT)
    assert stream.pending() >= 20
    await house.server(port=port, **words)
    await until(stream.idle, "all are acknowledged")
    assert len(worker.began()) == 20


async def _idle(stream: Stream) -> bool:
    return bool(stream.client.exists(TASKS)) and bool(stream.client.xinfo_groups(TASKS))


async def test_servers_killed_under_load_lose_nothing_and_run_nothing_twice(house: House, redis: RedisServer) -> None:
    redis.start()
    stream = Stream(redis)
    port = free_port()
    words = {"dispatch_url": redis.url}
    server = await house.server(port=port, **words)
    workers = await house.workers(server, "a", "b", slots=4)
    number = 0
    for _ in range(4):
        until_s = time.monotonic() + 0.7
        while time.monotonic() < until_s:
            stream.add(f"t{number}", task_type="nap", payload='{"s": 0.02}', loss_policy="LOSS_POLICY_REQUEUE")
            number += 1
            await asyncio.sleep(0.003)
        server.close()
        server = await house.server(port=port, **words)
    await until(stream.idle, "all are acknowledged")
    await until(lambda: sum(len(worker.ended_tasks()) for worker in workers) >= number, "all have run")
    ran = [task_id for worker in workers for task_id, _ in worker.began()]
    assert len(set(ran)) == number
    assert len(ran) == number, sorted(task_id for task_id in set(ran) if ran.count(task_id) > 1)
    assert not stream.dead()


async def test_a_server_that_goes_down_in_order_leaves_what_waits_to_the_next(
    redis: RedisServer, tmp_path: Path
) -> None:
    redis.start()
    stream = Stream(redis)
    app = App(settings(redis.url, tmp_path / "state"))
    await app.start()
    stream.add("t")
    await until(lambda: len(app.core.queue.waiting) == 1, "it waits")
    began = time.monotonic()
    await app.stop(5.0)
    assert time.monotonic() - began < 4.0
    assert stream.pending() == 1
    assert stream.client.xinfo_consumers(TASKS, GROUP)[0]["pending"] == 1


async def test_a_task_that_may_have_begun_and_is_only_to_be_reported_is_set_aside(
    redis: RedisServer, tmp_path: Path
) -> None:
    redis.start()
    stream = Stream(redis)
    async with running(settings(redis.url, tmp_path / "state")) as server:
        server.workers.gate.clear()
        server.workers.start("w", slots=1)
        stream.add("t")
        await until(lambda: server.workers.ran, "it runs")
        await until(stream.idle, "its entry is acknowledged")
        async with stub(server) as admin:
            await admin.RemoveWorker(admin_service_pb2.RemoveWorkerRequest(worker_id="w", force=True))
        (letter,) = await until(stream.dead, "it is set aside")
        assert (letter["reason"], letter["workers"]) == ("ATTEMPTS_EXHAUSTED", '["w"]')
        assert "may have begun when it was lost" in letter["detail"]
        assert "source" not in letter, "its entry is long done with"


async def test_a_restored_lease_answers_for_its_entry_whatever_attempt_it_is(
    redis: RedisServer, tmp_path: Path
) -> None:
    """The journal has the second attempt, Redis the entry of the first: nothing is set aside, and nothing runs anew."""
    redis.start()
    stream = Stream(redis)
    folder = tmp_path / "state"
    async with running(settings(redis.url, folder)) as server:
        stream.add("t", loss_policy="LOSS_POLICY_REQUEUE", payload="p")
        server.workers.gate.clear()
        server.workers.start("w", slots=1)
        await until(lambda: server.workers.count() == {"t": 1}, "it runs")
        await until(stream.idle, "its entry is acknowledged")
        async with stub(server) as admin:
            await admin.RemoveWorker(admin_service_pb2.RemoveWorkerRequest(worker_id="w", force=True))
        record = await until(lambda: server.app.core.queue.waiting.by_task.get(("", "t")), "it waits again")
        assert record.event.task.attempt == 2
    stream.add("t", loss_policy="LOSS_POLICY_REQUEUE", payload="p")  # as if it had not been acknowledged
    async with running(settings(redis.url, folder)) as server:
        assert len(server.app.core.queue.waiting) == 1
        await until(stream.idle, "its entry is acknowledged")
        assert len(server.app.core.queue.waiting) == 1
        assert not stream.dead()
        server.workers.start("v", slots=1)
        await until(lambda: server.workers.ran == [("t", 2, b"p", "v")], "it runs as what it is")


async def test_a_server_that_was_stopped_runs_nothing_that_another_has_taken_over(
    house: House, redis: RedisServer
) -> None:
    redis.start()
    stream = Stream(redis)
    words: dict[str, Any] = {"dispatch_url": redis.url, "dispatch_claim_after_s": "2", "dispatch_timeout_s": "1"}
    first = await house.server(folder="one", **words)
    for number in range(60):
        stream.add(f"t{number}", task_type="nap", payload='{"s": 0.02}')
    await eventually(lambda: _waits(first, 60), "all wait on the first")
    first.signal(signal.SIGSTOP)
    second = await house.server(folder="two", **words)
    (taker,) = await house.workers(second, "b", slots=2)
    await until(lambda: len(taker.began()) > 10, "the second has taken over")
    first.signal(signal.SIGCONT)
    (late,) = await house.workers(first, "a", slots=2)
    await until(stream.idle, "all are acknowledged")
    await until(lambda: len(taker.ended_tasks()) + len(late.ended_tasks()) == 60, "all have run")
    assert len({*taker.began(), *late.began()}) == 60


async def _waits(server: Any, count: int) -> bool:
    return bool((await server.status()).waiting_tasks == count)
