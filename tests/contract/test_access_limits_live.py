"""Limits that are changed while the server runs: UpdateConfig, and what is refused from then on."""

from pathlib import Path
from typing import Any

from google.protobuf.struct_pb2 import Value

from scheduler_api.v1 import admin_service_pb2, admin_service_pb2_grpc
from scheduler_server.access.roles import Role
from scheduler_server.access.settings import LimitSettings
from tests.contract.access_house import House, house, refused, token
from tests.contract.server import until
from tests.contract.test_access_limits import GREEDY, LINES, asking, schedule, worker

ADMIN = token("admin", Role.ADMIN)


async def update(made: House, **values: float) -> Any:
    stub: Any = admin_service_pb2_grpc.AdminServiceStub(await made.channel(None))
    changed = {f"limits.{name}": Value(number_value=value) for name, value in values.items()}
    request = admin_service_pb2.UpdateConfigRequest(values=changed, reason="a test")
    return await stub.UpdateConfig(request, metadata=ADMIN.metadata)


async def test_a_rate_that_is_set_while_the_server_runs_holds_for_the_next_call(tmp_path: Path) -> None:
    async with house(tmp_path, *LINES, ADMIN.line) as made:
        stub = schedule(await made.channel(None))
        assert (await refused(stub.Assign(asking("1"), metadata=GREEDY.metadata))).reason == "NO_WORKERS"
        answer = await update(made, assign_per_s=4, assign_burst=1)
        assert {each.name: each.needs_restart for each in answer.changes} == {
            "limits.assign_per_s": False,
            "limits.assign_burst": False,
        }
        assert (await refused(stub.Assign(asking("2"), metadata=GREEDY.metadata))).reason == "NO_WORKERS"
        problem = await refused(stub.Assign(asking("3"), metadata=GREEDY.metadata))
        assert (problem.reason, problem.retry_s) == ("RATE_LIMITED", 0.25)
        assert problem.metadata == {"limit": "limits.assign_per_s", "value": "4"}
        await update(made, assign_per_s=0)
        for number in range(20):
            problem = await refused(stub.Assign(asking(f"n{number}"), metadata=GREEDY.metadata))
            assert problem.reason == "NO_WORKERS"


async def test_calls_that_wait_count_under_a_lower_limit(tmp_path: Path) -> None:
    async with house(tmp_path, *LINES, ADMIN.line) as made:
        stub = schedule(await made.channel(None))
        waiting = []
        for number in range(2):
            request = asking(str(number))
            request.wait.FromSeconds(60)
            waiting.append(stub.Assign(request, metadata=GREEDY.metadata))
        await until(lambda: len(made.server.core.queue.waiting) == 2, "two wait")
        await update(made, assign_in_flight=2)
        problem = await refused(stub.Assign(asking("over"), metadata=GREEDY.metadata))
        assert (problem.reason, problem.metadata["value"]) == ("RATE_LIMITED", "2")
        assert len(made.server.core.queue.waiting) == 2
        for call in waiting:
            call.cancel()


async def test_workers_streams_and_names_that_are_there_stay_under_lower_limits(tmp_path: Path) -> None:
    async with house(tmp_path, *LINES, ADMIN.line) as made:
        channel = await made.channel(None)
        one = await worker(channel, GREEDY.text, "w1").open()
        two = await worker(channel, GREEDY.text, "w2").open()
        await update(made, workers=1, streams=1)
        assert (await one.beat()).sequence
        assert (await two.beat()).sequence
        assert (await worker(channel, GREEDY.text, "w3").problem()).reason == "TOO_MANY_STREAMS"
        await update(made, streams=0, task_types=1)
        third = worker(channel, GREEDY.text, "w3")
        await third.send()
        assert (await third.problem()).reason == "TOO_MANY_WORKERS"
        stub = schedule(channel)
        assert (await stub.Assign(asking("a", task_type="a"), metadata=GREEDY.metadata)).decision.worker_id
        problem = await refused(stub.Assign(asking("b", task_type="b"), metadata=GREEDY.metadata))
        assert (problem.reason, problem.metadata["limit"]) == ("TOO_MANY_NAMES", "limits.task_types")


async def test_files_are_looked_at_as_often_as_is_said_now(tmp_path: Path) -> None:
    async with house(tmp_path, *LINES, ADMIN.line) as made:  # which looks once an hour
        made.grant(ADMIN.line)
        values = {"access.reload_s": Value(number_value=0.05)}
        stub: Any = admin_service_pb2_grpc.AdminServiceStub(await made.channel(None))
        request = admin_service_pb2.UpdateConfigRequest(values=values, reason="a test")
        await stub.UpdateConfig(request, metadata=ADMIN.metadata)
        grants = made.app.access.grants
        assert grants is not None
        await until(lambda: len(grants.value) == 1, "the file was read again")
        made.grant(ADMIN.line, GREEDY.line)
        await until(lambda: len(grants.value) == 2, "and again")


def test_what_is_limited_is_the_same_before_and_after_a_change() -> None:
    """Every limit of an identity can be changed while the server runs; to whom they apply cannot."""
    from scheduler_server.rpc.live_settings import LIVE, RESTART

    named = {f"limits.{each}" for each in LimitSettings.__dataclass_fields__}
    assert {each for each in named if each in RESTART} == {"limits.apply"}
    assert {each for each in LIVE if each.startswith("limits.")} == named - {"limits.apply"}
