"""What one identity may ask for, against a real server; and that others notice nothing."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest

from scheduler_api.v1 import admin_service_pb2, admin_service_pb2_grpc, schedule_service_pb2_grpc, worker_pb2
from scheduler_api.v1 import schedule_service_pb2 as api
from scheduler_server.access.roles import Role
from scheduler_server.access.settings import LimitSettings
from scheduler_server.rpc.server import ServerSettings
from tests.contract.access_house import House, ask, bearer, house, refused, token
from tests.contract.server import Stream, item_problem, settings, task, until
from tests.contract.server import running as running_server

GREEDY = token("greedy", Role.WORKER, Role.PRODUCER, Role.VIEWER, rest="workers=*")
OTHER = token("other", Role.WORKER, Role.PRODUCER, rest="workers=*")
LINES = (GREEDY.line, OTHER.line)


def schedule(channel: grpc.aio.Channel) -> Any:
    return schedule_service_pb2_grpc.ScheduleServiceStub(channel)


def asking(task_id: str = "t", **fields: Any) -> api.AssignRequest:
    return api.AssignRequest(task=task(task_id, **fields))


async def test_the_rate_is_told_with_when_to_come_again_and_others_are_not_held_to_it(tmp_path: Path) -> None:
    limits = LimitSettings(assign_per_s=2, assign_burst=2)
    async with house(tmp_path, *LINES, limits=limits) as made:
        stub = schedule(await made.channel(None))
        for number in range(2):
            assert (await refused(stub.Assign(asking(str(number)), metadata=GREEDY.metadata))).reason == "NO_WORKERS"
        call = stub.Assign(asking("over"), metadata=GREEDY.metadata)
        problem = await refused(call)
        assert (problem.code, problem.reason) == ("RESOURCE_EXHAUSTED", "RATE_LIMITED")
        assert problem.metadata == {"limit": "limits.assign_per_s", "value": "2"}
        assert problem.retry_s == 0.5
        assert dict(await call.trailing_metadata())["grpc-retry-pushback-ms"] == "500"
        assert (await refused(stub.Assign(asking("o"), metadata=OTHER.metadata))).reason == "NO_WORKERS"
        made.server.clock.monotonic += 0.5
        assert (await refused(stub.Assign(asking("again"), metadata=GREEDY.metadata))).reason == "NO_WORKERS"
        assert made.app.access.limits_hit()["assign_per_s"] == 1


async def test_a_batch_counts_as_its_tasks(tmp_path: Path) -> None:
    async with house(tmp_path, *LINES, limits=LimitSettings(assign_per_s=10, assign_burst=5)) as made:
        stub = schedule(await made.channel(None))
        batch = api.AssignBatchRequest(requests=[asking(str(number)) for number in range(25)])
        assert len((await stub.AssignBatch(batch, metadata=GREEDY.metadata)).results) == 25
        assert (await refused(stub.Assign(asking(), metadata=GREEDY.metadata))).retry_s == 2.1


async def test_calls_in_flight(tmp_path: Path) -> None:
    async with house(tmp_path, *LINES, limits=LimitSettings(assign_in_flight=2)) as made:
        stub = schedule(await made.channel(None))
        waiting = []
        for number in range(2):
            request = asking(str(number))
            request.wait.FromSeconds(60)
            waiting.append(stub.Assign(request, metadata=GREEDY.metadata))
        await until(lambda: len(made.server.core.queue.waiting) == 2, "two wait")
        problem = await refused(stub.Assign(asking("over"), metadata=GREEDY.metadata))
        assert (problem.reason, problem.metadata["limit"]) == ("RATE_LIMITED", "limits.assign_in_flight")
        assert (await refused(stub.Assign(asking("o"), metadata=OTHER.metadata))).reason != "RATE_LIMITED"
        waiting[0].cancel()
        await until(lambda: len(made.server.core.queue.waiting) == 1, "one has gone")
        assert (await refused(stub.Assign(asking("again"), metadata=GREEDY.metadata))).reason != "RATE_LIMITED"
        waiting[1].cancel()


def worker(channel: grpc.aio.Channel, text: str, worker_id: str) -> Stream:
    return Stream(schedule(channel).Schedule(metadata=bearer(text)), worker_id)


async def test_workers_of_one_identity(tmp_path: Path) -> None:
    async with house(tmp_path, *LINES, limits=LimitSettings(workers=2)) as made:
        channel = await made.channel(None)
        streams = [await worker(channel, GREEDY.text, each).open() for each in ("w1", "w2")]
        third = worker(channel, GREEDY.text, "w3")
        await third.send()
        problem = await third.problem()
        assert (problem.code, problem.reason) == ("RESOURCE_EXHAUSTED", "TOO_MANY_WORKERS")
        assert problem.metadata["limit"] == "limits.workers"
        await worker(channel, GREEDY.text, "w1").open()  # it is one of the two
        await worker(channel, OTHER.text, "o1").open()
        await streams[1].send(sequence=9, intent=worker_pb2.WORKER_INTENT_LEAVE)
        await until(lambda: "w2" not in made.server.core.fleet.records, "w2 has left")
        await worker(channel, GREEDY.text, "w3").open()


async def test_streams_of_one_identity(tmp_path: Path) -> None:
    async with house(tmp_path, *LINES, limits=LimitSettings(streams=2)) as made:
        channel = await made.channel(None)
        one = await worker(channel, GREEDY.text, "w1").open()
        admin = admin_service_pb2_grpc.AdminServiceStub(channel)
        watch = admin.WatchEvents(admin_service_pb2.WatchEventsRequest(), metadata=GREEDY.metadata)
        await watch.read()
        problem = await worker(channel, GREEDY.text, "w2").problem()
        assert (problem.code, problem.reason) == ("RESOURCE_EXHAUSTED", "TOO_MANY_STREAMS")
        await one.lose()
        await made.server.gone("w1")
        await worker(channel, GREEDY.text, "w2").open()


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("task_types", {"task_type": "{}"}),
        ("tenants", {"tenant": "{}"}),
        ("capabilities", {"required_capabilities": ["{}"]}),
        ("labels", {"match_labels": {"host": "{}"}}),
    ],
)
async def test_different_names_of_tasks(tmp_path: Path, kind: str, fields: dict[str, Any]) -> None:
    def named(number: int) -> dict[str, Any]:
        return {
            name: value.format(number)
            if isinstance(value, str)
            else [each.format(number) for each in value]
            if isinstance(value, list)
            else {key: each.format(number) for key, each in value.items()}
            for name, value in fields.items()
        }

    async with house(tmp_path, *LINES, limits=LimitSettings(**{kind: 3})) as made:  # type: ignore[arg-type]
        stub = schedule(await made.channel(None))
        for number in range(3):
            problem = await refused(stub.Assign(asking(**named(number)), metadata=GREEDY.metadata))
            assert problem.reason != "TOO_MANY_NAMES"
        problem = await refused(stub.Assign(asking(**named(3)), metadata=GREEDY.metadata))
        assert (problem.code, problem.reason) == ("RESOURCE_EXHAUSTED", "TOO_MANY_NAMES")
        assert problem.metadata == {"limit": f"limits.{kind}", "value": "3"}
        batch = api.AssignBatchRequest(requests=[asking(**named(number)) for number in (2, 3)])
        results = (await stub.AssignBatch(batch, metadata=GREEDY.metadata)).results
        assert [item_problem(each.error).reason == "TOO_MANY_NAMES" for each in results] == [False, True]
        again = await refused(stub.Assign(asking(**named(3)), metadata=OTHER.metadata))
        assert again.reason != "TOO_MANY_NAMES"
        assert made.app.access.limits_hit()[kind] == 2


@pytest.mark.parametrize("later", [False, True])
async def test_different_names_of_workers(tmp_path: Path, later: bool) -> None:
    async with house(tmp_path, *LINES, limits=LimitSettings(labels=2, capabilities=2)) as made:
        channel = await made.channel(None)
        fits = worker_pb2.WorkerRegistration(capabilities=["a", "b"], labels={"x": "1", "y": "1"})
        await worker(channel, GREEDY.text, "w1").open(registration=fits)
        for each in (
            worker_pb2.WorkerRegistration(capabilities=["c"]),
            worker_pb2.WorkerRegistration(labels={"x": "2"}),
        ):
            one = worker(channel, GREEDY.text, "w2")
            if later:
                await one.open()
                await one.send(registration=each, sequence=2)
            else:
                await one.send(registration=each)
            assert (await one.problem()).reason == "TOO_MANY_NAMES"
        await worker(channel, OTHER.text, "o").open(registration=worker_pb2.WorkerRegistration(capabilities=["c"]))


async def test_without_access_control_an_address_is_one_identity_where_limits_apply_always(tmp_path: Path) -> None:
    limits = LimitSettings(apply="always", task_types=1)
    async with house(tmp_path, controlled=False, limits=limits) as made:
        reasons = []
        for number in range(2):
            channel = await made.channel(None)  # another port, the same address
            reasons.append((await refused(schedule(channel).Assign(asking(task_type=str(number))))).reason)
        assert reasons == ["NO_WORKERS", "TOO_MANY_NAMES"]


async def test_the_wire_has_its_own_limits() -> None:
    configured = settings(
        server=ServerSettings(
            listen="127.0.0.1:0", max_connections=2, max_metadata_bytes=4_096, max_message_bytes=65_536
        )
    )
    async with running_server(configured) as server:
        channel = server.channel
        for much, fits in ((3_000, True), (6_000, False)):
            call = schedule(channel).Assign(asking(), metadata=(("x-much", "x" * much),))
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await call
            details = dict(raised.value.trailing_metadata() or ()).get("grpc-status-details-bin")
            assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert bool(details) is fits  # the transport has refused it before the server has heard of it
        with pytest.raises(grpc.aio.AioRpcError, match="larger than max"):
            await schedule(channel).Assign(asking(task_type="x" * 70_000))
        options = (("grpc.use_local_subchannel_pool", 1),)
        async with grpc.aio.insecure_channel(server.app.address, options=options) as second:
            assert (await ask(second, "scheduler_api.v1.AdminService/GetStatus")).reason == "REQUEST_UNREADABLE"
            async with grpc.aio.insecure_channel(server.app.address, options=options) as third:
                assert (await ask(third, "scheduler_api.v1.AdminService/GetStatus")).code == "UNAVAILABLE"


# ---------------------------------------------------------------------- floods: the long form is BENCH=flood


async def test_a_flood_of_types_labels_and_workers_stops_at_the_limits_and_others_are_served(tmp_path: Path) -> None:
    limits = LimitSettings(task_types=100, labels=50, workers=20, capabilities=50)
    async with house(tmp_path, *LINES, limits=limits) as made:
        await flood(made)
        core, access = made.server.core, made.app.access
        hit = access.limits_hit()
        assert (hit["task_types"], hit["labels"], hit["workers"]) == (2_900, 150, 80)
        assert len(core.fleet.records) == 21
        assert len(core.fleet.eligibility.classes) <= 52


async def flood(made: House) -> None:
    mine, theirs = await made.channel(None), await made.channel(None)
    honest = await worker(theirs, OTHER.text, "honest").open(registration=worker_pb2.WorkerRegistration())
    for begin in range(0, 3_000, 1_000):
        many = [
            asking(f"t{number}", task_type=f"type-{number}", excluded_workers=["honest"])
            for number in range(begin, begin + 1_000)
        ]
        await schedule(mine).AssignBatch(api.AssignBatchRequest(requests=many), metadata=GREEDY.metadata)
    many = [asking(f"l{number}", task_type="type-1", match_labels={"zone": str(number)}) for number in range(200)]
    await schedule(mine).AssignBatch(api.AssignBatchRequest(requests=many), metadata=GREEDY.metadata)

    async def one(number: int) -> None:
        stream = worker(mine, GREEDY.text, f"w{number}")
        await stream.send()
        await stream.call.read()

    await asyncio.gather(*(one(number) for number in range(100)), return_exceptions=True)
    placed = await schedule(theirs).Assign(asking("theirs"), metadata=OTHER.metadata)
    assert placed.decision.worker_id
    assert (await honest.beat()).sequence
