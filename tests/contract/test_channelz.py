"""grpc.channelz.v1 against a real server: who is connected, page by page, and what is not there."""

from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest
from grpc_channelz.v1 import channelz_pb2, channelz_pb2_grpc

from scheduler_server.rpc.channelz import MOST_SOCKETS
from tests.contract.server import DEADLINE_S, Running


def channelz(live: Running) -> Any:
    channel: Any = live.channel
    return channelz_pb2_grpc.ChannelzStub(channel)


async def server_id(live: Running) -> int:
    """The server that counts this very call: there may be others in the process."""
    before: dict[int, int] = {each.ref.server_id: each.data.calls_started for each in await servers(live)}
    after: dict[int, int] = {each.ref.server_id: each.data.calls_started for each in await servers(live)}
    (found,) = (each for each, calls in after.items() if calls != before.get(each))
    return found


async def servers(live: Running) -> Any:
    return (await channelz(live).GetServers(channelz_pb2.GetServersRequest(), timeout=DEADLINE_S)).server


async def test_a_client_finds_its_own_connection(live: Running) -> None:
    ours = await server_id(live)
    sockets = await channelz(live).GetServerSockets(channelz_pb2.GetServerSocketsRequest(server_id=ours))
    (only,) = sockets.socket_ref
    found = await channelz(live).GetSocket(channelz_pb2.GetSocketRequest(socket_id=only.socket_id))
    assert found.socket.data.streams_started >= 4
    assert found.socket.remote.tcpip_address.port
    alone = await channelz(live).GetServer(channelz_pb2.GetServerRequest(server_id=ours))
    assert alone.server.data.calls_started >= 5
    top = await channelz(live).GetTopChannels(channelz_pb2.GetTopChannelsRequest())
    channel_id = top.channel[0].ref.channel_id  # the test's own: server and client are one process
    one = await channelz(live).GetChannel(channelz_pb2.GetChannelRequest(channel_id=channel_id))
    assert one.channel.data.target


@pytest.mark.parametrize("asked", [0, -1, MOST_SOCKETS + 1, 1_000_000])
async def test_a_page_of_connections_has_an_end_and_the_next_one_begins_there(live: Running, asked: int) -> None:
    ours = await server_id(live)
    more = 20
    request = channelz_pb2.GetServerSocketsRequest(server_id=ours, max_results=asked)
    async with AsyncExitStack() as stack:
        for _ in range(MOST_SOCKETS + more):
            options = (("grpc.use_local_subchannel_pool", 1),)
            channel = grpc.aio.insecure_channel(live.app.address, options=options)
            await (await stack.enter_async_context(channel)).channel_ready()
        first = await channelz(live).GetServerSockets(request)
        request.start_socket_id = first.socket_ref[-1].socket_id + 1
        rest = await channelz(live).GetServerSockets(request)
    assert (len(first.socket_ref), first.end) == (MOST_SOCKETS, False)
    assert (len(rest.socket_ref), rest.end) == (more + 1, True)


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("GetServer", channelz_pb2.GetServerRequest(server_id=2**62)),
        ("GetServerSockets", channelz_pb2.GetServerSocketsRequest(server_id=-1)),
        ("GetChannel", channelz_pb2.GetChannelRequest(channel_id=0)),
        ("GetSubchannel", channelz_pb2.GetSubchannelRequest(subchannel_id=-(2**63))),
        ("GetSocket", channelz_pb2.GetSocketRequest(socket_id=2**63 - 1)),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
async def test_what_is_not_there_is_not_found(live: Running, method: str, request_: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await getattr(channelz(live), method)(request_)
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND
