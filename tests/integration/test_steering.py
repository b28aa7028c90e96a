"""What operators ordered holds after a kill -9 of the server."""

import signal
from typing import Any

from scheduler_api.v1 import admin_service_pb2 as admin
from scheduler_api.v1 import schedule_service_pb2 as api
from scheduler_api.v1 import task_pb2
from scheduler_server.client import DecisionCause, Task
from tests.integration.processes import House, Server, free_port


async def ask(server: Server, method: str, request: Any) -> Any:
    return await server.client.call(getattr(server.client.admin, method), request)


async def test_cordon_pause_forced_fallback_and_trip_survive_a_kill(house: House) -> None:
    port = free_port()
    server = await house.server(port=port)
    await house.workers(server, "a", "b", slots=20)
    held_back = admin.QueueScope(task_type="held")
    await ask(server, "CordonWorker", admin.CordonWorkerRequest(worker_id="a", reason="a new disk"))
    await ask(server, "PauseQueue", admin.PauseQueueRequest(scope=held_back, reason="bad input"))
    await ask(server, "ForceFallback", admin.ForceFallbackRequest(forced=True, reason="odd scores"))
    await ask(server, "TripBreaker", admin.TripBreakerRequest(task_type="x"))
    server.signal(signal.SIGKILL)
    await server.ended()

    again = await house.server(port=port)
    await again.connected("a", "b")
    listed = (await ask(again, "ListPauses", admin.ListPausesRequest())).pauses
    assert [(each.scope.task_type, each.reason) for each in listed] == [("held", "bad input")]
    status = await again.status()
    assert status.policy.forced_fallback.reason == "odd scores"
    assert [(each.task_type, each.tripped) for each in status.type_breakers] == [("x", True)]
    worker = (await ask(again, "GetWorker", admin.GetWorkerRequest(worker_id="a"))).worker
    assert (worker.cordoned, worker.cordon_reason) == (True, "a new disk")
    placed = [await again.client.assign(Task(task_id=f"t{at}", task_type="x"), patience=10.0) for at in range(4)]
    assert {(each.worker_id, each.cause) for each in placed} == {("b", DecisionCause.FORCED_FALLBACK)}
    waits = api.AssignRequest(task=task_pb2.Task(task_id="held", task_type="held"), enqueue=api.Enqueue())
    held = await again.client.call(again.client.schedule.Assign, waits)
    assert held.waiting.blocking == task_pb2.BLOCKING_REASON_PAUSED

    for method, request in (
        ("UncordonWorker", admin.UncordonWorkerRequest(worker_id="a")),
        ("ResumeQueue", admin.ResumeQueueRequest(scope=admin.QueueScope(task_type="held"))),
        ("ForceFallback", admin.ForceFallbackRequest()),
        ("ResetBreaker", admin.ResetBreakerRequest(task_type="x")),
    ):
        await ask(again, method, request)
    again.signal(signal.SIGKILL)
    await again.ended()
    last = await house.server(port=port)
    await last.connected("a", "b")
    status = await last.status()
    assert not status.policy.HasField("forced_fallback")
    assert not status.type_breakers
    assert status.workers.cordoned == 0
    assert not (await ask(last, "ListPauses", admin.ListPausesRequest())).pauses
