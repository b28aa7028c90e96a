"""grpc.channelz.v1: who is connected, and what has gone over each connection; `grpcdebug` and grpcurl ask it.

grpcio-channelz asks the transport and reads its JSON, 12 us for each connection of a page, on the event loop. Asked for
no number it would tell all connections at once, a second of that where there are 100,000: here a page has an end.
"""

from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf.message_factory import GetMessageClass
from grpc_channelz.v1 import channelz_pb2
from grpc_channelz.v1.channelz import ChannelzServicer

from scheduler_server.rpc.access_guard import Guard
from scheduler_server.rpc.errors import mapped, readable
from scheduler_server.telemetry.calls import MethodCalls

CHANNELZ = "grpc.channelz.v1.Channelz"

MOST_SOCKETS = 100
"""Connections in one answer of GetServerSockets; `start_socket_id` takes the next ones. The protocol lets a server
choose."""


def add_channelz(server: "grpc.aio.Server", guard: Guard | None = None) -> None:
    """Let the server tell of its transport, to whom the `guard` lets."""
    handlers = {}
    service: Any = channelz_pb2.DESCRIPTOR.services_by_name["Channelz"]
    for method in service.methods:
        full_name = f"{CHANNELZ}/{method.name}"
        answer: Any = _asked(getattr(ChannelzServicer, method.name))
        parse: Any = readable(GetMessageClass(method.input_type).FromString)
        if guard is not None:
            answer, parse = guard.unary(answer, full_name, parse), None  # parsed when its caller was let in
        handlers[method.name] = grpc.unary_unary_rpc_method_handler(
            mapped(answer, full_name, MethodCalls(full_name)),  # not measured: those are the contract's
            request_deserializer=parse,
            response_serializer=GetMessageClass(method.output_type).SerializeToString,
        )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(CHANNELZ, handlers),))


def _asked(method: Callable[[Any, Any], Any]) -> Any:
    async def answer(request: Any, context: Any) -> Any:
        if isinstance(request, channelz_pb2.GetServerSocketsRequest) and not 0 < request.max_results <= MOST_SOCKETS:
            request.max_results = MOST_SOCKETS
        return method(request, context)

    return answer
