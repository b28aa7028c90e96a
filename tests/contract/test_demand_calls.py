"""GetDemand over the wire, and the metrics that say the same."""

from typing import Any

import pytest

from scheduler_api.v1 import admin_service_pb2 as admin
from scheduler_api.v1 import admin_service_pb2_grpc, worker_pb2
from scheduler_api.v1 import schedule_service_pb2 as api
from scheduler_server.telemetry.readings import READERS
from scheduler_server.telemetry.sources import Moment
from tests.contract.server import DEADLINE_S, WALL_S, Running, refused, span, task


async def demand(live: Running, **fields: Any) -> admin.GetDemandResponse:
    stub = admin_service_pb2_grpc.AdminServiceStub(live.channel)
    answer: admin.GetDemandResponse = await stub.GetDemand(admin.GetDemandRequest(**fields), timeout=DEADLINE_S)
    return answer


async def enqueue(live: Running, *names: str, **fields: Any) -> None:
    for name in names:
        request = api.AssignRequest(task=task(name, **fields), enqueue=api.Enqueue())
        await live.stub.Assign(request, timeout=DEADLINE_S)


GPU = worker_pb2.WorkerRegistration(max_concurrent_tasks=2, reports_outcomes=True, capabilities=["gpu"])


async def test_it_tells_by_class_what_is_needed_and_what_is_there(live: Running) -> None:
    live.app.admin.demand.trends.turn()  # as if the server had not looked yet: the load is what is in use
    await live.worker("w1", registration=GPU)
    await enqueue(live, "t1", "t2", "t3", "t4", required_capabilities=["gpu"], match_labels={})
    answer = await demand(live, target_wait=span(5.0))
    (gpu,) = answer.classes
    assert (list(gpu.required_capabilities), dict(gpu.match_labels)) == (["gpu"], {})
    assert (gpu.waiting_tasks, gpu.waiting_work.ToSeconds()) == (2, 10)
    assert (gpu.present_slots, gpu.used_slots, gpu.needed_slots, gpu.missing_slots) == (2, 2, 3, 1)
    assert gpu.expected_last_start.ToSeconds() > WALL_S
    assert (answer.needed_slots, answer.present_slots) == (3, 2)
    assert answer.target_wait.ToSeconds() == 5
    assert answer.as_of.ToSeconds() == WALL_S


async def test_without_a_target_the_configured_one_counts(live: Running) -> None:
    assert (await demand(live)).target_wait.ToSeconds() == 30


async def test_spare_slots_are_missing_with_a_minus(live: Running) -> None:
    await live.worker("w1", registration=GPU)
    await live.assign("t", required_capabilities=["gpu"])
    assert not (await demand(live)).classes
    idle = (await demand(live, include_idle=True)).classes
    (gpu,) = (each for each in idle if each.required_capabilities)
    assert (gpu.present_slots, gpu.used_slots, gpu.needed_slots, gpu.missing_slots) == (2, 1, 1, -1)
    assert not gpu.HasField("expected_last_start")


async def test_tasks_that_nobody_could_take_have_no_expected_start(live: Running) -> None:
    await enqueue(live, "t1", match_labels={"zone": "mars"})
    (mars,) = (await demand(live)).classes
    assert dict(mars.match_labels) == {"zone": "mars"}
    assert (mars.present_slots, mars.missing_slots) == (0, 1)
    assert not mars.HasField("expected_last_start")


@pytest.mark.parametrize("seconds", [1e-9, 86_400.0])
async def test_targets_up_to_a_day_are_allowed(live: Running, seconds: float) -> None:
    assert (await demand(live, target_wait=span(seconds))).target_wait == span(seconds)


@pytest.mark.parametrize("seconds", [0.0, -1.0, 86_400.001])
async def test_a_target_out_of_range_is_refused_with_its_field(live: Running, seconds: float) -> None:
    problem = await refused(demand(live, target_wait=span(seconds)))
    assert (problem.code, problem.reason, problem.fields) == ("INVALID_ARGUMENT", "INVALID_ARGUMENT", ["target_wait"])


async def test_it_changes_nothing(live: Running) -> None:
    await enqueue(live, "t1")
    before = live.core.events
    await demand(live, include_idle=True)
    assert live.core.events == before
    assert len(live.core.queue.waiting) == 1


async def test_metrics_say_the_same_as_of_the_last_look(live: Running) -> None:
    await live.worker("w1", registration=GPU)
    await enqueue(live, "t1", "t2", "t3", "t4")
    watch = live.app.admin.demand
    watch.trends.turn()
    await watch.look()
    found = await demand(live)

    class Sources:
        core = live.core

        @staticmethod
        def demand() -> Any:
            return watch.demand

    moment: Any = Moment.__new__(Moment)
    moment.sources, moment.core = Sources, live.core

    def read(name: str) -> dict[tuple[str, ...], float]:
        return {labels: value for value, labels in READERS[name](moment)}

    assert read("scheduler.demand.slots.needed") == {(): found.needed_slots}
    assert read("scheduler.demand.slots.present") == {(): 2}
    assert read("scheduler.demand.class.needed") == {("any",): found.classes[0].needed_slots, ("other",): 0}
    assert read("scheduler.demand.class.waiting") == {("any",): 2, ("other",): 0}
    assert read("scheduler.demand.class.work") == {("any",): 10.0, ("other",): 0.0}
