"""The main job: workers stream, a queue service asks, tasks run, outcomes come back, and the next decision knows."""

import asyncio
import contextlib
import hashlib
from collections import Counter

from scheduler_server.client import (
    DecisionCause,
    DecisionSource,
    OutcomeResult,
    OutcomeStatus,
    Task,
    TaskState,
    TaskUnknown,
)
from tests.integration.processes import DEADLINE_S, House, eventually, nap


async def test_tasks_run_once_each_where_they_were_placed_and_their_results_come_back(house: House) -> None:
    # Refused callers are told when to come back by what is known of durations: at first, the default.
    server = await house.server(predictor_default_ms=100)
    workers = await house.workers(server, "a", "b", "c", slots=2)
    naps = [nap(f"t{number}", 0.05, task_type=("nap", "async-nap")[number % 2]) for number in range(40)]
    digests = [Task(task_id=f"d{number}", task_type="digest", payload=bytes([number]) * 60_000) for number in range(8)]
    placements = await asyncio.gather(*(server.hand_over(task) for task in naps + digests))
    over = await server.finished(*naps, *digests)
    for task in naps:
        outcome = over[task.task_id].outcome
        assert outcome is not None
        assert outcome.status is OutcomeStatus.SUCCEEDED
        assert outcome.result == f"{task.task_id}, attempt 1".encode()
        assert outcome.duration is not None
        assert 0.05 <= outcome.duration.total_seconds() < DEADLINE_S
    for task in digests:
        outcome = over[task.task_id].outcome
        assert outcome is not None
        assert outcome.result == hashlib.sha256(task.payload).digest()
    placed = {(task.task_id, placement.worker_id) for task, placement in zip(naps + digests, placements, strict=True)}
    ran = [(task_id, worker.worker_id) for worker in workers for task_id, _ in worker.began()]
    assert sorted(ran) == sorted((task_id, worker) for task_id, worker in placed if task_id.startswith("t"))
    assert set(Counter(ran).values()) == {1}
    assert {status.state for status in over.values()} == {TaskState.FINISHED}
    known = await server.workers()
    assert sum(worker.completed for worker in known.values()) == 48
    assert all(worker.completed > 0 for worker in known.values())
    assert (await server.status()).leases == 0


async def test_the_second_decision_knows_how_long_the_first_task_took(house: House) -> None:
    server = await house.server()
    await house.workers(server, "a")
    first = await server.hand_over(nap("first", 0.4))
    assert first.response.decision.prediction.sample_count == 0
    assert first.response.decision.prediction.point_ms == 5_000.0
    await server.finished(nap("first", 0.4))
    second = await server.hand_over(nap("second", 0.4))
    prediction = second.response.decision.prediction
    assert prediction.sample_count == 1
    assert prediction.key == "type=nap"
    assert 400.0 <= prediction.point_ms < 600.0
    assert second.source is DecisionSource.PREDICTED
    assert second.cause is DecisionCause.ONLY_CANDIDATE
    await server.finished(nap("second", 0.4))
    other = await server.hand_over(Task(task_id="other", task_type="digest"))
    assert other.response.decision.prediction.sample_count == 0


async def test_a_task_that_fails_and_one_that_is_declined_say_so(house: House) -> None:
    server = await house.server(assignment_avoid_decliner_s=0.2)
    await house.workers(server, "a", slots=2)
    broken = Task(task_id="broken", task_type="broken")
    await server.hand_over(broken)
    outcome = (await server.finished(broken))["broken"].outcome
    assert outcome is not None
    assert (outcome.status, outcome.error_kind) == (OutcomeStatus.FAILED, "ValueError")
    assert outcome.error_message == "no good: broken"
    picky = Task(task_id="picky", task_type="picky")
    await server.hand_over(picky)
    again = picky.as_attempt(2)  # the server's own: it places what a worker declined once more

    async def placed_again() -> bool:
        with contextlib.suppress(TaskUnknown):
            return await server.state(again) is not TaskState.WAITING
        return False

    await eventually(placed_again, "the next attempt is under way")
    outcome = (await server.finished(again))["picky"].outcome
    assert outcome is not None
    assert outcome.result == b"taken"
    assert (await server.workers())["a"].failed == 1


async def test_a_queue_service_that_delivers_by_itself_reports_by_itself(house: House) -> None:
    server = await house.server()
    await house.workers(server, "a", "b")
    first = await server.client.assign(Task(task_id="one", task_type="resize"))
    assert first.worker_id in {"a", "b"}
    assert await server.state(Task(task_id="one", task_type="resize")) is TaskState.PLACED
    report = server.client.report_outcome
    assert await report(first.lease_id, OutcomeStatus.SUCCEEDED, duration=0.25) is OutcomeResult.ACCEPTED
    assert await report(first.lease_id, OutcomeStatus.SUCCEEDED, duration=0.25) is OutcomeResult.DUPLICATE
    assert await server.state(Task(task_id="one", task_type="resize")) is TaskState.FINISHED
    second = await server.client.assign(Task(task_id="two", task_type="resize"))
    assert second.response.decision.prediction.sample_count == 1
    assert abs(second.response.decision.prediction.point_ms - 250.0) < 1e-6


async def test_a_worker_that_is_told_of_its_tasks_by_others_reports_them(house: House) -> None:
    server = await house.server()
    (worker,) = await house.workers(server, "a", slots=2, handles=False)
    task = Task(task_id="one", task_type="resize")
    placement = await server.client.assign(task)
    worker.tell(lease=placement.lease_id, s=0.2)

    async def started() -> bool:
        return await server.state(task) is TaskState.STARTED

    await eventually(started, "the worker says that it has begun")
    outcome = (await server.finished(task))["one"].outcome
    assert outcome is not None
    assert outcome.status is OutcomeStatus.SUCCEEDED
    assert outcome.duration is not None
    assert 0.2 <= outcome.duration.total_seconds() < 5.0
