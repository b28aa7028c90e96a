"""Real workers hand back what they hold and have not started, and another one runs it: once."""

from collections import Counter
from typing import Any

from scheduler_api.v1 import decision_pb2
from scheduler_server.client import OutcomeStatus
from tests.integration.processes import House, nap, until

OFTEN: dict[str, Any] = {
    "rebalance_interval_s": 0.1,
    "rebalance_least_gain_s": 0.1,
    "rebalance_max_tasks": 4,
    "predictor_default_ms": 1_000,
}


async def test_staged_tasks_move_to_a_worker_that_comes_later_and_each_runs_once(house: House) -> None:
    server = await house.server(**OFTEN)
    (full,) = await house.workers(server, "full", slots=1, prefetch=20)
    tasks = [nap("first", 60.0), *(nap(f"t{number}", 0.05) for number in range(10))]
    for task in tasks:
        placed = await server.hand_over(task)
        assert placed.worker_id == "full"
    await until(lambda: len(full.began()) == 1, "the first one has begun")
    (idle,) = await house.workers(server, "idle", slots=2)
    moved = [task.as_attempt(2) for task in tasks[1:]]
    await until(lambda: len(idle.began()) == len(moved), "the other worker has begun the others")
    over = await server.finished(*moved)
    for task in moved:
        status = over[task.task_id]
        assert status.outcome is not None
        assert status.outcome.status is OutcomeStatus.SUCCEEDED
        assert status.message.decision.cause == decision_pb2.DECISION_CAUSE_REBALANCED
    await server.client.cancel_task("first", reason="long enough")
    ran = Counter(task_id for worker in (full, idle) for task_id, _ in worker.began())
    assert ran == Counter(task.task_id for task in tasks)
    assert {task_id for task_id, _ in full.began()} == {"first"}, "what runs never moves"
