"""The grpc.aio server with its options, and everything that answers on it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2_grpc

from scheduler_api.v1 import admin_service_pb2, schedule_service_pb2
from scheduler_server.model.setting import setting
from scheduler_server.rpc.errors import NotSupported, abort, mapped, readable
from scheduler_server.rpc.health import Health
from scheduler_server.rpc.reflection import add_reflection

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
    max_streams_per_connection: int = setting(
        1_000, "calls and streams at once on one connection; stops rapid resets", minimum=1, maximum=1_000_000
    )
    max_message_bytes: int = setting(
        4 * 1024 * 1024, "largest message taken", unit="bytes", minimum=65_536, maximum=256 * 1024 * 1024
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
    return grpc.aio.server(
        options=[
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


def add_services(server: "grpc.aio.Server", schedule: Any, streams: Any, admin: Any, health: Health) -> None:
    """Register every method of the contract; what this version does not have answers UNIMPLEMENTED with a reason."""
    parts = {SCHEDULE: (schedule, streams), ADMIN: (admin, *admin.others)}
    for service in DESCRIPTORS:
        handlers = {method.name: _handler(method, parts[service.full_name]) for method in service.methods}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.full_name, handlers),))
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    add_reflection(server, [SCHEDULE, ADMIN, HEALTH])


def _handler(method: MethodDescriptor, parts: tuple[Any, ...]) -> Any:
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
    if method.client_streaming and method.server_streaming:
        return grpc.stream_stream_rpc_method_handler(implementation or _unimplemented(name), **codecs)
    if method.server_streaming:
        return grpc.unary_stream_rpc_method_handler(mapped(implementation or _unimplemented(name), name), **codecs)
    return grpc.unary_unary_rpc_method_handler(mapped(implementation or _unimplemented(name), name), **codecs)


def _unimplemented(name: str) -> Any:
    async def unimplemented(_request: Any, context: Any) -> None:
        await abort(context, NotSupported(name, "the contract has it, this version does not"))

    return unimplemented
