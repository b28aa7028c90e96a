"""The grpc.aio server with its options, and everything that answers on it."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2_grpc

from scheduler_api.v1 import admin_service_pb2, schedule_service_pb2
from scheduler_server.model.setting import setting
from scheduler_server.rpc.access_guard import Guard
from scheduler_server.rpc.audit import Audit
from scheduler_server.rpc.channelz import CHANNELZ, add_channelz
from scheduler_server.rpc.errors import NotSupported, abort, counted, mapped, readable
from scheduler_server.rpc.health import Health
from scheduler_server.rpc.quick import items
from scheduler_server.rpc.reflection import add_reflection
from scheduler_server.telemetry.arriving import Arriving
from scheduler_server.telemetry.calls import Calls

SCHEDULE = "scheduler_api.v1.ScheduleService"
ADMIN = "scheduler_api.v1.AdminService"
HEALTH = "grpc.health.v1.Health"

DESCRIPTORS: tuple[ServiceDescriptor, ...] = (
    schedule_service_pb2.DESCRIPTOR.services_by_name["ScheduleService"],
    admin_service_pb2.DESCRIPTOR.services_by_name["AdminService"],
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Where the server listens, and what it allows a connection."""

    listen: str = setting("127.0.0.1:50051", "address and port; port 0 takes a free one")
    allow_plaintext: bool = setting(
        False, "listen without TLS on an address that others can reach: only where the network itself is trusted"
    )
    max_connections: int = setting(
        0, "connections at once; one more is closed as it comes; 0: no limit", minimum=0, maximum=1_000_000
    )
    max_streams_per_connection: int = setting(
        1_000, "calls and streams at once on one connection; stops rapid resets", minimum=1, maximum=1_000_000
    )
    max_message_bytes: int = setting(
        4 * 1024 * 1024, "largest message taken", unit="bytes", minimum=65_536, maximum=256 * 1024 * 1024
    )
    max_metadata_bytes: int = setting(
        16_384, "most metadata of a call; gRPC refuses more", unit="bytes", minimum=4_096, maximum=1024 * 1024
    )
    keepalive_s: float = setting(
        60.0, "idle time after which a connection is probed", unit="s", minimum=1, maximum=86_400
    )
    keepalive_timeout_s: float = setting(
        10.0, "time for the probe's answer; then the connection is closed", unit="s", above=0, maximum=3_600
    )
    grace_s: float = setting(
        10.0, "time for calls under way when the server goes down", unit="s", minimum=0, maximum=3_600
    )


def make_server(settings: ServerSettings) -> "grpc.aio.Server":
    """The bare server with its options."""
    # grpc's ints are 32 bits; keepalive values are milliseconds.
    most = [("grpc.max_allowed_incoming_connections", settings.max_connections)] if settings.max_connections else []
    return grpc.aio.server(
        options=[
            *most,
            # The soft limit refuses at random, rising to the hard one: one bound is told and meant.
            ("grpc.max_metadata_size", settings.max_metadata_bytes),
            ("grpc.absolute_max_metadata_size", settings.max_metadata_bytes),
            (
                "grpc.so_reuseport",
                0,
            ),  # on by default: a second server on the port would take a share of the calls
            ("grpc.max_concurrent_streams", settings.max_streams_per_connection),
            ("grpc.max_receive_message_length", settings.max_message_bytes),
            # What is sent is bounded by what was asked; a batch that was carried out must be answered.
            ("grpc.max_send_message_length", -1),
            ("grpc.keepalive_time_ms", int(settings.keepalive_s * 1_000)),
            ("grpc.keepalive_timeout_ms", int(settings.keepalive_timeout_s * 1_000)),
            # Keepalive alone notices a black-holed stream only after its own timeout of a minute.
            ("grpc.http2.ping_timeout_ms", int(settings.keepalive_timeout_s * 1_000)),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_ping_interval_without_data_ms", 10_000),  # workers may probe us this often
            ("grpc.http2.max_ping_strikes", 3),
        ]
    )


def add_services(
    server: "grpc.aio.Server",
    schedule: Any,
    streams: Any,
    admin: Any,
    health: Health,
    calls: Calls,
    guard: Guard | None = None,
    audit: Audit | None = None,
) -> None:
    """Register every method of the contract, each counted in `calls`, behind the `guard` where there is one.

    What changes something is written down by the `audit`.

    What this version does not have answers UNIMPLEMENTED with a reason.
    """
    parts = {SCHEDULE: (schedule, streams), ADMIN: (admin, *admin.others)}
    for service in DESCRIPTORS:
        answering = parts[service.full_name]
        handlers = {method.name: _handler(method, answering, calls, guard, audit) for method in service.methods}
        server.add_generic_rpc_handlers((_Service(service.full_name, handlers, calls.arriving),))
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    add_channelz(server, guard)
    add_reflection(server, [SCHEDULE, ADMIN, HEALTH, CHANNELZ], guard)


class _Service(grpc.GenericRpcHandler):
    """Finds a service's methods, and notes who comes: gRPC itself may end a call before its method begins."""

    def __init__(self, name: str, handlers: Mapping[str, Any], arriving: Arriving) -> None:
        self._handlers = {f"/{name}/{method}": handler for method, handler in handlers.items()}
        self._come = arriving.come

    def service(self, handler_call_details: Any) -> Any:
        """The method's handler; None: it is another service's."""
        found = self._handlers.get(handler_call_details.method)
        if found is not None:
            task = asyncio.current_task()
            assert task is not None  # noqa: S101 -- grpc.aio looks for the handler in the task that answers the call
            self._come(task)
        return found


def _handler(
    method: MethodDescriptor, parts: tuple[Any, ...], calls: Calls, guard: Guard | None, audit: Audit | None
) -> Any:
    implementation = next((found for part in parts if (found := getattr(part, method.name, None))), None)
    request, response = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
    codecs: Mapping[str, Any] = {
        # A stream's reader sees for itself what does not parse.
        "request_deserializer": request.FromString if method.client_streaming else readable(request.FromString),
        "response_serializer": response.SerializeToString,
    }
    if getattr(implementation, "on_bytes", False):
        codecs = {}
    name = f"{method.containing_service.name}.{method.name}"
    full_name = f"{method.containing_service.full_name}/{method.name}"
    own = calls.by_method[full_name]
    if audit is not None and implementation is not None:
        implementation = audit.wrap(implementation, full_name)
    implementation = implementation or _unimplemented(name)
    if guard is not None:
        implementation, codecs = _guarded(implementation, method, full_name, guard, codecs)
    if method.client_streaming and method.server_streaming:
        return grpc.stream_stream_rpc_method_handler(counted(implementation, own), **codecs)
    if method.server_streaming:
        return grpc.unary_stream_rpc_method_handler(mapped(implementation, name, own), **codecs)
    return grpc.unary_unary_rpc_method_handler(mapped(implementation, name, own), **codecs)


def _guarded(
    implementation: Any, method: MethodDescriptor, full_name: str, guard: Guard, codecs: Mapping[str, Any]
) -> tuple[Any, Mapping[str, Any]]:
    """The method behind the guard, which parses the request itself, and what is left to do for gRPC."""
    if method.client_streaming:
        return guard.stream(implementation, full_name), codecs
    rest = dict(codecs)
    parse = rest.pop("request_deserializer", None)
    if method.server_streaming:
        return guard.watch(implementation, full_name, parse), rest
    return guard.unary(implementation, full_name, parse, _PLACES.get(full_name)), rest


_PLACES: dict[str, Callable[[bytes], int]] = {
    f"{SCHEDULE}/Assign": lambda _: 1,
    f"{SCHEDULE}/AssignBatch": lambda request: len(items(request) or ()) or 1,
}
"""How many tasks a request asks to have placed."""


def _unimplemented(name: str) -> Any:
    async def unimplemented(_request: Any, context: Any) -> None:
        await abort(context, NotSupported(name, "the contract has it, this version does not"))

    return unimplemented
