"""The transport's own limits: what a client is told, and what is counted where the transport tells the server."""

from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest

from scheduler_api.v1 import schedule_service_pb2 as api
from scheduler_server.rpc.connections import PAGE, Connections, _count
from scheduler_server.rpc.server import ServerSettings
from tests.contract.server import Running, refused, running, settings, task, until

MESSAGE, METADATA = 65_536, 4_096

SMALL = ServerSettings(listen="127.0.0.1:0", max_message_bytes=MESSAGE, max_metadata_bytes=METADATA)


def asking(size: int = 0) -> api.AssignRequest:
    """A request, of exactly so many bytes if it is told."""
    request = api.AssignRequest(task=task("t", payload=b""))
    if size:
        request.task.payload = b"x" * (size - request.ByteSize() - 8)
        request.task.payload += b"x" * (size - request.ByteSize())
        assert request.ByteSize() == size
    return request


def lost(server: Running) -> int:
    return server.app.counted.arriving.lost


async def code_of(call: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return raised.value.code()


async def test_a_message_at_the_limit_is_read_and_one_above_it_is_refused_and_counted() -> None:
    async with running(settings(server=SMALL)) as server:
        assert (await refused(server.stub.Assign(asking(MESSAGE)))).reason == "INVALID_ARGUMENT"  # its payload
        assert lost(server) == 0
        assert await code_of(server.stub.Assign(asking(MESSAGE + 1))) is grpc.StatusCode.RESOURCE_EXHAUSTED
        await until(lambda: lost(server) == 1, "it is counted")
        started = server.app.counted.by_method["scheduler_api.v1.ScheduleService/Assign"].started
        assert started == 1


async def test_metadata_above_the_limit_is_refused_and_counted() -> None:
    async with running(settings(server=SMALL)) as server:
        for size, code in ((METADATA - 1_000, "NO_WORKERS"), (METADATA + 1, None)):
            call = server.stub.Assign(asking(), metadata=(("x-much", "x" * size),))
            if code:
                assert (await refused(call)).reason == code
            else:
                assert await code_of(call) is grpc.StatusCode.RESOURCE_EXHAUSTED
        await until(lambda: lost(server) == 1, "it is counted")


async def test_who_goes_away_before_its_request_is_there_is_counted_with_them() -> None:
    async with running() as server:
        call: Any = server.channel.stream_unary("/scheduler_api.v1.ScheduleService/Assign")()
        await until(lambda: len(server.app.counted.arriving.calls) == 1, "it is announced")
        assert lost(server) == 0
        call.cancel()
        await until(lambda: lost(server) == 1, "it is counted")
        assert not server.app.counted.arriving.calls


async def test_calls_of_every_kind_that_begin_are_not_counted() -> None:
    async with running() as server:
        worker = await server.worker("w")
        await server.assign("t")
        watch = server.stub.WatchTasks(api.WatchTasksRequest())
        await watch.read()
        assert not server.app.counted.arriving.calls
        watch.cancel()
        await worker.lose()
        await server.gone("w")
        assert lost(server) == 0


async def test_connections_are_counted_as_they_come_and_go() -> None:
    async with running() as server:
        connections = Connections(0.01)
        connections._server_id = server.app.connections._server_id
        connections.start()
        await server.channel.channel_ready()
        await until(lambda: connections.open == 1, "one is connected")
        async with AsyncExitStack() as stack:
            for _ in range(PAGE + 1):
                options = (("grpc.use_local_subchannel_pool", 1),)
                channel = grpc.aio.insecure_channel(server.app.address, options=options)
                await (await stack.enter_async_context(channel)).channel_ready()
            await until(lambda: connections.open >= PAGE + 2, "more than a page are connected")
        await until(lambda: connections.open == 1, "and they have gone")
        await connections.close()


async def test_each_server_of_a_process_counts_its_own() -> None:
    async with running() as one, running() as other:
        await one.channel.channel_ready()
        own, others = one.app.connections._server_id, other.app.connections._server_id
        assert own is not None
        assert others is not None
        assert own != others
        assert (await _count(own), await _count(others)) == (1, 0)


async def test_one_connection_more_than_allowed_is_closed_as_it_comes() -> None:
    limited = ServerSettings(listen="127.0.0.1:0", max_connections=1)
    async with running(settings(server=limited)) as server:
        await server.channel.channel_ready()
        options = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0))
        async with grpc.aio.insecure_channel(server.app.address, options=options) as second:
            call: Any = second.unary_unary("/scheduler_api.v1.AdminService/GetStatus")
            assert await code_of(call(b"")) is grpc.StatusCode.UNAVAILABLE
        own = server.app.connections._server_id
        assert own is not None
        assert await _count(own) == 1


async def test_a_transport_that_tells_nothing_costs_a_figure_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(*_: int) -> bytes:
        return b"something else"

    monkeypatch.setattr("grpc._cython.cygrpc.channelz_get_servers", silent)
    async with running() as server:
        assert server.app.connections.open == -1
        await server.still_places("t")
