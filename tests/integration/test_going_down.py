"""SIGTERM: what is under way ends, nothing new begins, nobody who only listens is waited for; a second one is fast."""

import asyncio
import itertools
import signal
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from scheduler_api.v1 import admin_service_pb2 as admin_api
from scheduler_api.v1 import schedule_service_pb2, task_pb2, worker_pb2
from scheduler_server.client import NoFreeSlot, SchedulerError, ServerUnavailable, Task
from tests.integration.processes import DEADLINE_S, House, Server, eventually, nap, until

GRACE_S = 10.0  # server.grace_s: time for calls under way
SOON_S = 5.0  # what an exit takes on two busy cores when nothing is waited for


def batch(name: str, size: int) -> schedule_service_pb2.AssignBatchRequest:
    """Many tasks in one call: it gives way to other things every millisecond, so it takes many turns."""
    return schedule_service_pb2.AssignBatchRequest(
        requests=[
            schedule_service_pb2.AssignRequest(task=task_pb2.Task(task_id=f"{name}-{at}", task_type="x"))
            for at in range(size)
        ]
    )


async def hold(server: Server) -> Any:
    """A call that is under way for as long as we like: a conversation with reflection."""
    make: Any = reflection_pb2_grpc.ServerReflectionStub  # typed without its constructor
    call = make(server.client.channel).ServerReflectionInfo()
    await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
    assert (await call.read()).list_services_response.service
    return call


async def test_calls_under_way_are_answered_in_full_and_later_ones_are_refused(house: House) -> None:
    server = await house.server()
    await house.workers(server, "a", slots=10_000)
    calls = [asyncio.create_task(_timed(server, batch(f"batch-{number}", 1_000))) for number in range(8)]

    async def under_way() -> bool:
        return (await server.status()).leases > 0

    await eventually(under_way, "a batch is under way")
    assert not all(call.done() for call in calls)
    asked_at = time.monotonic()
    server.signal(signal.SIGTERM)
    answered = await asyncio.gather(*calls, return_exceptions=True)
    assert await server.ended() == 0
    full = [each for each in answered if not isinstance(each, BaseException)]
    assert len(full) >= 1
    assert {size for size, _ in full} == {1_000}
    assert any(at > asked_at for _, at in full), "no call was under way when the signal came"
    for refused in (each for each in answered if isinstance(each, BaseException)):
        assert isinstance(refused, ServerUnavailable), refused


async def _timed(server: Server, request: schedule_service_pb2.AssignBatchRequest) -> tuple[int, float]:
    answer = await server.client.call(server.client.schedule.AssignBatch, request, timeout=DEADLINE_S)
    assert not [result.error for result in answer.results if result.HasField("error")]
    return len(answer.results), time.monotonic()


async def test_a_caller_that_goes_on_asking_meets_unavailable_and_nothing_else(house: House) -> None:
    server = await house.server()
    await house.workers(server, "a", slots=10_000)
    met: list[Exception] = []

    async def ask(who: int) -> None:
        for number in itertools.count():
            try:
                await server.client.assign(Task(task_id=f"{who}-{number}", task_type="x"))
            except SchedulerError as error:
                met.append(error)
                if "refused" in str(error):  # the port is closed
                    return

    asking = [asyncio.create_task(ask(who)) for who in range(8)]
    await asyncio.sleep(0.2)  # not a synchronisation: calls are to be under way
    assert not met
    assert await server.terminate() == 0
    await asyncio.gather(*asking)
    assert {type(error) for error in met} == {ServerUnavailable}


async def test_while_it_drains_every_new_call_is_told_so_and_open_streams_get_a_goodbye(house: House) -> None:
    server = await house.server()
    (worker,) = await house.workers(server, "a")
    task = nap("runs-on", 60.0)
    await server.hand_over(task)
    await until(lambda: worker.began() == [("runs-on", 1)], "the task runs")
    held = await hold(server)
    # A connection that is open already: the port takes no new ones while the server drains.
    server.signal(signal.SIGTERM)

    async def told() -> bool:
        try:
            await server.client.assign(Task(task_id="late", task_type="x"))
        except ServerUnavailable:
            return True
        except NoFreeSlot:
            pass  # the signal has not arrived yet
        return False

    await eventually(told, "a new call is refused")
    await until(lambda: any("SERVER_SHUTDOWN" in line for line in worker.errors), "the worker got its goodbye")
    assert server.running
    held.cancel()
    assert await server.ended(SOON_S) == 0
    assert worker.running
    assert not any("ended" in said for said in worker.said)  # what runs, runs on


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
async def test_a_second_signal_does_not_wait(house: House, first: signal.Signals) -> None:
    server = await house.server()
    await hold(server)
    server.signal(first)
    await until(lambda: any("draining" in line for line in server.errors), "it drains")
    assert server.running
    server.signal(signal.SIGTERM)
    since = time.monotonic()
    assert await server.ended(SOON_S) == 1
    assert time.monotonic() - since < 2.0


async def test_a_call_that_does_not_end_is_waited_for_as_long_as_the_grace(house: House) -> None:
    server = await house.server(server_grace_s=1)
    await hold(server)
    since = time.monotonic()
    assert await server.terminate() == 0
    assert time.monotonic() - since >= 0.9
    assert time.monotonic() - since < 1.0 + SOON_S


async def listens(server: Server, what: str) -> Any:
    """Somebody who is connected and waits to be told something."""
    channel = server.client.channel
    if what == "health":
        stub: Any = health_pb2_grpc.HealthStub(channel)  # typed without Watch
        watch = stub.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        return watch
    if what == "events":
        events = server.client.admin.WatchEvents(admin_api.WatchEventsRequest())
        await events.read()
        return events

    async def beats() -> AsyncIterator[worker_pb2.WorkerHeartbeat]:
        if what == "bare worker":
            yield worker_pb2.WorkerHeartbeat(worker_id="bare")
        await asyncio.sleep(3_600)

    stream: Any = server.client.schedule.Schedule(beats())
    if what == "bare worker":
        assert (await stream.read()).HasField("welcome")
        return stream

    # A stream that has said nothing: it counts as open from the moment that the server has seen it.
    async def seen() -> bool:
        return (await server.status()).streams.workers > 0

    await eventually(seen, "the server has the stream")
    return stream


@pytest.mark.parametrize("what", ["health", "events", "bare worker", "silent stream"])
async def test_who_only_listens_is_not_waited_for(house: House, what: str) -> None:
    server = await house.server()
    call = await listens(server, what)
    since = time.monotonic()
    server.signal(signal.SIGTERM)
    last: Any = None
    try:
        while (told := await asyncio.wait_for(call.read(), DEADLINE_S)) is not grpc.aio.EOF:
            last = told
    except grpc.aio.AioRpcError as error:
        assert error.code() is grpc.StatusCode.UNAVAILABLE  # noqa: PT017
    if what == "health":
        assert last.status == health_pb2.HealthCheckResponse.NOT_SERVING
    if what == "bare worker":
        assert last.goodbye.reason == worker_pb2.GOODBYE_REASON_SERVER_SHUTDOWN
    assert await server.ended() == 0
    assert time.monotonic() - since < SOON_S < GRACE_S
    assert any("stopped" in line for line in server.errors)


async def test_a_frozen_peer_holds_up_the_exit_no_longer_than_the_grace(house: House) -> None:
    # Its end of the connection stays open without a word, which gRPC cannot tell from a slow one.
    server = await house.server(server_grace_s=1)
    (worker,) = await house.workers(server, "a")
    worker.signal(signal.SIGSTOP)
    since = time.monotonic()
    assert await server.terminate() == 0
    assert time.monotonic() - since < 1.0 + SOON_S
