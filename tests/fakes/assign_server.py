"""A server that says what a test tells it to say, on a real port: what the wire does is real, what is decided
is not.  It keeps no tasks and no promises; it is for what clients make of answers, not a stand-in for the
scheduler."""

from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from scheduler_api.v1 import admin_service_pb2, schedule_service_pb2

Answer = Message | Callable[[Any, grpc.aio.ServicerContext[Any, Any]], Awaitable[Message]]


@dataclass(frozen=True, slots=True)
class Asked:
    """One call as the server saw it."""

    request: Any
    metadata: dict[str, str | bytes]
    time_remaining_s: float | None


@dataclass(slots=True)
class AssignServer:
    """Answers each method with its scripted answers in turn; the last one repeats."""

    target: str = ""
    asked: defaultdict[str, list[Asked]] = field(default_factory=lambda: defaultdict(list))
    _answers: dict[str, Sequence[Answer]] = field(default_factory=dict)

    def answer(self, method: str, *answers: Answer) -> None:
        """A message is sent, a google.rpc.Status ends the call with it, a function is called."""
        self._answers[method] = answers

    async def handle(self, method: str, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Message:
        asked = self.asked[method]
        asked.append(Asked(request, dict(context.invocation_metadata() or ()), context.time_remaining()))
        answers = self._answers[method]
        answer = answers[min(len(asked), len(answers)) - 1]
        if isinstance(answer, status_pb2.Status):
            status = rpc_status.to_status(answer)
            await context.abort(status.code, status.details, status.trailing_metadata)
        if isinstance(answer, Message):
            return answer
        return await answer(request, context)


@asynccontextmanager
async def assign_server(credentials: grpc.ServerCredentials | None = None) -> AsyncIterator[AssignServer]:
    """The server while it runs, on a free port of 127.0.0.1."""
    fake = AssignServer()
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0), ("grpc.max_send_message_length", -1)])
    for file in (schedule_service_pb2.DESCRIPTOR, admin_service_pb2.DESCRIPTOR):
        for service in file.services_by_name.values():
            server.add_generic_rpc_handlers((_handlers(service, fake),))
    address = "127.0.0.1:0"
    port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    await server.start()
    fake.target = f"127.0.0.1:{port}"
    try:
        yield fake
    finally:
        await server.stop(None)


def refusal(
    code: grpc.StatusCode,
    reason: str = "",
    message: str = "no",
    *details: Message,
    domain: str = "scheduler-server",
) -> status_pb2.Status:
    """A status as the contract has it: ErrorInfo first (unless the reason is ""), then what else there is."""
    info = error_details_pb2.ErrorInfo(reason=reason, domain=domain, metadata={"limit": "7"})
    packed = []
    for detail in ([info] if reason else []) + list(details):
        packed.append(AnyMessage())
        packed[-1].Pack(detail)
    return status_pb2.Status(code=code.value[0], message=message, details=packed)


def _handlers(service: Any, fake: AssignServer) -> grpc.GenericRpcHandler:
    def handler(method: Any) -> "grpc.RpcMethodHandler[Any, Any]":
        async def handle(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Message:
            return await fake.handle(method.name, request, context)

        return grpc.unary_unary_rpc_method_handler(
            handle,
            request_deserializer=GetMessageClass(method.input_type).FromString,
            response_serializer=GetMessageClass(method.output_type).SerializeToString,
        )

    unary = [m for m in service.methods if not (m.client_streaming or m.server_streaming)]
    return grpc.method_handlers_generic_handler(service.full_name, {m.name: handler(m) for m in unary})
