"""RebalanceWaiting over the wire, the directive that asks a task back, and what a worker answers."""

from dataclasses import replace
from typing import Any

import pytest

from scheduler_api.v1 import admin_service_pb2 as admin
from scheduler_api.v1 import admin_service_pb2_grpc, decision_pb2, task_pb2, worker_pb2
from scheduler_api.v1 import schedule_service_pb2 as api
from scheduler_server.assignment.events import Configured
from scheduler_server.assignment.rebalance_settings import RebalanceSettings
from scheduler_server.model.fleet_event import FleetEventKind
from tests.contract.server import DEADLINE_S, Problem, Running, Stream, refused, task, until

STREAM = task_pb2.DELIVERY_STREAM


async def rebalance(live: Running, **fields: Any) -> admin.RebalanceWaitingResponse:
    stub = admin_service_pb2_grpc.AdminServiceStub(live.channel)
    answer: admin.RebalanceWaitingResponse = await stub.RebalanceWaiting(
        admin.RebalanceWaitingRequest(**fields), timeout=DEADLINE_S
    )
    return answer


async def enqueue(live: Running, task_id: str, **fields: Any) -> None:
    request = api.AssignRequest(task=task(task_id, **fields), enqueue=api.Enqueue())
    await live.stub.Assign(request, timeout=DEADLINE_S)


def acknowledged(lease_id: str) -> worker_pb2.LeaseReport:
    return worker_pb2.LeaseReport(lease_id=lease_id, acknowledged=worker_pb2.LeaseAcknowledged())


def started(lease_id: str) -> worker_pb2.LeaseReport:
    return worker_pb2.LeaseReport(lease_id=lease_id, started=worker_pb2.LeaseStarted())


def returned(lease_id: str) -> worker_pb2.LeaseReport:
    return worker_pb2.LeaseReport(lease_id=lease_id, returned=worker_pb2.LeaseReturned())


async def staged(live: Running, count: int = 3) -> tuple[Stream, dict[str, str]]:
    """A worker that runs the first of these tasks and holds the others; their leases."""
    stream = await live.sdk_worker("full", slots=1, prefetch=count)
    leases = {}
    for number in range(1, count + 1):
        await live.assign(f"t{number}", delivery=STREAM)
        run = (await stream.next()).run_task
        leases[run.task.task_id] = run.lease_id
    reports = [acknowledged(lease_id) for lease_id in leases.values()] + [started(leases["t1"])]
    await stream.beat(reports=reports)
    return stream, leases


async def test_a_staged_task_is_asked_back_and_placed_elsewhere_once_it_is_handed_back(live: Running) -> None:
    full, leases = await staged(live)
    idle = await live.sdk_worker("idle", slots=1)
    answer = await rebalance(live, move_staged=True)
    (move,) = answer.moves
    assert (move.task.task_id, move.task.attempt) == ("t2", 1)
    assert (move.from_worker_id, move.to_worker_id) == ("full", "idle")
    assert move.gain.ToNanoseconds() / 1e9 == pytest.approx(5.0)
    asked = (await full.next()).return_lease
    assert asked.lease_id == leases["t2"]
    assert "5.0 s sooner on worker 'idle'" in asked.reason
    assert (await live.status("t2")).decision.worker_id == "full", "not before it is handed back"
    await full.beat(reports=[returned(leases["t2"])])
    run = (await idle.next()).run_task
    assert (run.task.task_id, run.task.attempt) == ("t2", 2)
    status = await live.status("t2")
    assert status.decision.worker_id == "idle"
    assert status.decision.cause == decision_pb2.DECISION_CAUSE_REBALANCED
    assert "moved because it starts sooner here" in status.decision.reasoning
    assert live.told(FleetEventKind.TASK_MOVED) == [("TASK_MOVED", "idle", "full", "idle")]


async def test_a_dry_run_tells_the_moves_and_asks_for_nothing(live: Running) -> None:
    full, _ = await staged(live, 4)
    await live.sdk_worker("idle", slots=1)
    answer = await rebalance(live, move_staged=True, dry_run=True)
    assert [move.task.task_id for move in answer.moves] == ["t2"], "one slot is given away once"
    assert (await full.beat()).sequence, "an ack, and no directive before it"
    assert live.core.rebalancing.asked_back == 0


async def test_only_waiting_tasks_are_looked_at_unless_more_is_asked_for(live: Running) -> None:
    await staged(live)
    await live.sdk_worker("idle", slots=1)
    assert not (await rebalance(live)).moves


async def test_nothing_waits_beside_a_free_slot_and_the_answer_says_that_it_was_checked(live: Running) -> None:
    await live.sdk_worker("w", slots=1)
    await live.assign("runs")
    for number in range(12):
        await enqueue(live, f"t{number}")
    answer = await rebalance(live)
    assert (list(answer.placed), answer.examined, answer.waiting_tasks) == ([], 10, 12)
    assert (await rebalance(live, max_tasks=1_000)).examined == 12
    assert (await rebalance(live, max_tasks=1)).examined == 1


async def forgotten(live: Running, *names: str) -> None:
    """Tasks that wait beside two free slots, which the core itself never lets come to pass."""
    for name in names:
        await enqueue(live, name)
    live.core.queue.open = False
    await live.sdk_worker("new", slots=2)
    live.core.queue.open = True
    live.core.fleet.opened.clear()


async def test_what_waits_beside_a_free_slot_is_placed_and_told(live: Running) -> None:
    await forgotten(live, "t1", "t2", "t3")
    tried = await rebalance(live, dry_run=True)
    assert [(each.task.task_id, each.lease_id, each.worker_id) for each in tried.placed] == [
        ("t1", "", "new"),
        ("t2", "", "new"),
    ]
    assert len(live.core.queue.waiting) == 3
    answer = await rebalance(live, reason="a look")
    assert [(each.task.task_id, each.worker_id) for each in answer.placed] == [("t1", "new"), ("t2", "new")]
    assert all(each.lease_id for each in answer.placed)
    assert (answer.examined, answer.waiting_tasks) == (3, 1)
    assert await live.state("t1") in ("PLACED", "OFFERED")


async def test_the_highest_priority_is_placed_first(live: Running) -> None:
    for name, priority in (("low", 0.0), ("high", 1.0), ("middle", 0.5)):
        await enqueue(live, name, priority=priority)
    live.core.queue.open = False
    await live.sdk_worker("new", slots=1)
    live.core.queue.open = True
    live.core.fleet.opened.clear()
    assert [each.task.task_id for each in (await rebalance(live)).placed] == ["high"]


async def test_a_task_that_starts_meanwhile_stays(live: Running) -> None:
    full, leases = await staged(live)
    await live.sdk_worker("idle", slots=1)
    await rebalance(live, move_staged=True)
    await full.next()
    await full.beat(reports=[started(leases["t2"])])
    assert (await live.status("t2")).decision.worker_id == "full"
    assert await live.state("t2") == "STARTED"


async def test_a_hand_back_that_nobody_asked_for_is_a_decline_as_ever(live: Running) -> None:
    full, leases = await staged(live)
    await full.beat(reports=[returned(leases["t3"])])
    waiter = live.core.queue.waiting.by_task["", "t3"]
    assert (waiter.event.trail.moves, waiter.event.trail.losses, waiter.event.trail.avoid) == (0, 1, ("full",))


@pytest.mark.parametrize("most", [1_001, 2**32 - 1])
async def test_more_than_a_thousand_are_refused(live: Running, most: int) -> None:
    problem: Problem = await refused(rebalance(live, max_tasks=most))
    assert (problem.code, problem.reason, problem.fields) == ("INVALID_ARGUMENT", "INVALID_ARGUMENT", ["max_tasks"])
    assert "1,000" in problem.descriptions[0] or "1000" in problem.descriptions[0]


async def test_a_reason_has_a_length(live: Running) -> None:
    assert (await rebalance(live, reason="x" * 4_096)).examined == 0
    assert (await refused(rebalance(live, reason="x" * 4_097))).fields == ["reason"]


async def test_a_server_that_goes_down_changes_nothing(live: Running) -> None:
    live.app.admin.drain()
    problem = await refused(rebalance(live))
    assert (problem.code, problem.reason) == ("UNAVAILABLE", "SERVER_DRAINING")


async def test_by_itself_it_happens_at_intervals(live: Running) -> None:
    full, leases = await staged(live)
    await live.sdk_worker("idle", slots=1)
    often = replace(live.core.settings, rebalance=RebalanceSettings(interval_s=1.0))
    live.app.shell.handle(Configured(often, 2))
    live.forward(2.0)
    await until(lambda: live.core.rebalancing.asked_back, "a round has asked a task back")
    assert (await full.next()).return_lease.lease_id == leases["t2"]


async def test_the_feature_is_told(live: Running) -> None:
    stub = admin_service_pb2_grpc.AdminServiceStub(live.channel)
    features = (await stub.GetStatus(admin.GetStatusRequest(), timeout=DEADLINE_S)).features
    assert {"rebalance_waiting", "get_demand"} <= set(features)


def test_the_causes_number_is_the_contracts() -> None:
    assert decision_pb2.DECISION_CAUSE_REBALANCED == 14
