"""grpc.health.v1 with List, and reflection v1 and v1alpha, as probes and grpcurl ask for them."""

import asyncio
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2 as reflection

from scheduler_server.rpc.channelz import CHANNELZ
from scheduler_server.rpc.server import DESCRIPTORS
from tests.contract.server import DEADLINE_S, Running, refused

SCHEDULE, ADMIN = "scheduler_api.v1.ScheduleService", "scheduler_api.v1.AdminService"
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
LIST: Any = health_pb2.HealthListRequest()  # type: ignore[attr-defined]  # the stubs are older than the protocol
V1, V1ALPHA = "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"


def health(live: Running) -> Any:
    return health_pb2_grpc.HealthStub(live.channel)


@pytest.mark.parametrize("service", ["", SCHEDULE, ADMIN])
async def test_each_service_and_the_whole_serve(live: Running, service: str) -> None:
    answer = await health(live).Check(health_pb2.HealthCheckRequest(service=service))
    assert answer.status == SERVING


async def test_a_service_that_is_not_there_is_not_found(live: Running) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await health(live).Check(health_pb2.HealthCheckRequest(service="nothing"))
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND


async def test_list_tells_all_of_them_at_once(live: Running) -> None:
    answer = await health(live).List(LIST)
    assert {name: each.status for name, each in answer.statuses.items()} == {
        "": SERVING,
        SCHEDULE: SERVING,
        ADMIN: SERVING,
    }


async def test_who_watches_sees_not_serving_as_the_first_step_down(live: Running) -> None:
    watch = health(live).Watch(health_pb2.HealthCheckRequest(service=SCHEDULE))
    assert (await watch.read()).status == SERVING
    stream = await live.worker()  # holds the server open until it is told goodbye
    stopping = asyncio.ensure_future(live.app.stop(1.0))
    assert (await asyncio.wait_for(watch.read(), DEADLINE_S)).status == NOT_SERVING
    await stream.goodbye()
    watch.cancel()
    await stopping


# ---------------------------------------------------------------------- reflection


async def ask(live: Running, version: str, *requests: reflection.ServerReflectionRequest) -> list[Any]:
    call = live.channel.stream_stream(
        f"/{version}/ServerReflectionInfo",
        request_serializer=reflection.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection.ServerReflectionResponse.FromString,
    )()
    answers = []
    for request in requests:
        await call.write(request)
        answers.append(await call.read())
    await call.done_writing()
    return answers


def files(answer: reflection.ServerReflectionResponse) -> list[FileDescriptorProto]:
    return [FileDescriptorProto.FromString(each) for each in answer.file_descriptor_response.file_descriptor_proto]


@pytest.mark.parametrize("version", [V1, V1ALPHA])
async def test_reflection_lists_everything_that_answers(live: Running, version: str) -> None:
    (answer,) = await ask(live, version, reflection.ServerReflectionRequest(list_services=""))
    listed = {each.name for each in answer.list_services_response.service}
    assert listed == {SCHEDULE, ADMIN, "grpc.health.v1.Health", CHANNELZ, V1, V1ALPHA}


@pytest.mark.parametrize("version", [V1, V1ALPHA])
@pytest.mark.parametrize("symbol", [SCHEDULE, ADMIN, "grpc.health.v1.Health", CHANNELZ, V1, V1ALPHA])
async def test_each_service_listed_can_be_described_with_all_it_imports(
    live: Running, version: str, symbol: str
) -> None:
    (answer,) = await ask(live, version, reflection.ServerReflectionRequest(file_containing_symbol=symbol))
    known = {each.name: each for each in files(answer)}
    assert any(f"{file.package}.{service.name}" == symbol for file in known.values() for service in file.service)
    wanted = {name for file in known.values() for name in file.dependency}
    while missing := wanted - known.keys():
        for name in sorted(missing):
            (more,) = await ask(live, version, reflection.ServerReflectionRequest(file_by_filename=name))
            found = {each.name: each for each in files(more)}
            assert name in found, f"{name} cannot be described"
            known.update(found)
        wanted = {name for file in known.values() for name in file.dependency}


async def test_every_method_that_reflection_tells_of_is_answered_by_the_server(live: Running) -> None:
    for service in DESCRIPTORS:
        for method in service.methods:
            call: Any = live.channel.stream_stream(f"/{service.full_name}/{method.name}")()
            await call.write(b"\xff")  # not a message: what is told must be that, and not that there is no such method
            assert (await refused(call.read())).reason in {"REQUEST_UNREADABLE", "NOT_SUPPORTED_YET"}, method.name


async def test_a_symbol_that_is_not_there_is_not_found(live: Running) -> None:
    (answer,) = await ask(live, V1, reflection.ServerReflectionRequest(file_containing_symbol="no.such.Thing"))
    assert answer.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


async def test_a_method_that_is_not_there_is_unimplemented(live: Running) -> None:
    call: Any = live.channel.unary_unary(f"/{SCHEDULE}/NoSuchMethod")
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call(b"")
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
