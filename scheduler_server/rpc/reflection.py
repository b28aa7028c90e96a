"""Server reflection, v1 and v1alpha: what grpcurl, grpcui and buf curl ask.

grpcio-reflection serves v1alpha only. v1 has the same messages under another package name, byte for byte, so the same
servicer answers both, and v1's descriptor is v1alpha's with the package renamed.
"""

from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha._async import ReflectionServicer

from scheduler_server.rpc.access_guard import Guard

V1 = "grpc.reflection.v1.ServerReflection"
V1ALPHA = "grpc.reflection.v1alpha.ServerReflection"


def add_reflection(server: "grpc.aio.Server", services: list[str], guard: Guard | None = None) -> None:
    """Let the server describe these services, and reflection itself, to whom the `guard` lets."""
    _describe_v1()
    servicer: Any = _Reflection([*services, V1, V1ALPHA])
    answer = servicer.ServerReflectionInfo

    def handler(version: str) -> Any:
        return grpc.stream_stream_rpc_method_handler(
            answer if guard is None else guard.generated(answer, f"{version}/ServerReflectionInfo"),
            request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
            response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
        )

    server.add_generic_rpc_handlers(
        tuple(
            grpc.method_handlers_generic_handler(version, {"ServerReflectionInfo": handler(version)})
            for version in (V1, V1ALPHA)
        )
    )


class _Reflection(ReflectionServicer):
    """Also finds methods by name, as `grpcurl describe` asks for them; protobuf's C implementation does not."""

    def _file_containing_symbol(self, request: Any, fully_qualified_name: str) -> Any:
        service, _, name = fully_qualified_name.rpartition(".")
        try:
            known = name in descriptor_pool.Default().FindServiceByName(service).methods_by_name
        except KeyError:
            known = False
        known_to_the_pool: Any = super()  # its types leave this method out
        return known_to_the_pool._file_containing_symbol(request, service if known else fully_qualified_name)


def _describe_v1() -> None:
    pool = descriptor_pool.Default()
    renamed = descriptor_pb2.FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(renamed)
    renamed.name = "grpc/reflection/v1/reflection.proto"
    renamed.package = "grpc.reflection.v1"
    old, new = ".grpc.reflection.v1alpha.", ".grpc.reflection.v1."
    for message in renamed.message_type:
        for field in message.field:
            if field.type_name:
                field.type_name = field.type_name.replace(old, new)
    for service in renamed.service:
        for method in service.method:
            method.input_type = method.input_type.replace(old, new)
            method.output_type = method.output_type.replace(old, new)
    pool.AddSerializedFile(renamed.SerializeToString())
