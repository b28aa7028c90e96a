"""What people ask of a scheduler, asked of a live run with real workers, and held against what the workers logged.

Why was my task put there, why is it waiting, when will it start, is the prediction any good, is the fleet all right?
Each is asked by grpcurl and by schedctl, while it runs, and of the log after the server was started again.
"""

import asyncio
import json
import sys
import time
from dataclasses import dataclass, replace
from datetime import datetime
from signal import SIGKILL
from typing import Any

from scheduler_server.client import Delivery, Task
from tests.contract.command_lines import ROOT, client, run, snake
from tests.integration.processes import (
    PLAIN_ENVIRONMENT,
    House,
    Server,
    WorkerProcess,
    eventually,
    free_port,
    nap,
    until,
)

SETTINGS: dict[str, Any] = {
    "history_flush_interval_s": 0.05,
    "history_sample_interval_s": 1,
    "predictor_default_ms": 300,
    "alerts_interval_s": 0.1,
    "health_healthy_within_s": 3,
    "health_unhealthy_after_s": 3,
    "health_lost_after_s": 3,
    "health_heartbeat_max_s": 0.5,
    "health_heartbeat_min_s": 0.3,
}

LATE_S = 3.0
"""How much later than its worker logged it something may be told on a busy machine."""


@dataclass(frozen=True, kw_only=True)
class Ran:
    """One task as its worker logged it; instants in seconds since 1970."""

    worker_id: str
    began: float
    ended: float | None
    stopped: bool = False

    @property
    def took_s(self) -> float:
        assert self.ended is not None
        return self.ended - self.began


def what_happened(*workers: WorkerProcess) -> dict[str, Ran]:
    """Who ran which task, when, and for how long: nobody but the workers is asked."""
    to_wall = time.time() - time.monotonic()
    found: dict[str, Ran] = {}
    for worker in workers:
        for line in worker.said:
            if "began" in line:
                found[line["began"]] = Ran(worker_id=worker.worker_id, began=line["at"] + to_wall, ended=None)
            elif "ended" in line:
                ended = line["at"] + to_wall
                found[line["ended"]] = replace(found[line["ended"]], ended=ended, stopped=line["stopped"])
    return found


async def grpcurl(server: Server, method: str, **request: Any) -> Any:
    """A method, by its name: what any other program would be told."""
    found = client("grpcurl", ROOT / "build" / "bin" / "grpcurl")
    words = ("-plaintext", "-d", json.dumps(request), server.address, f"scheduler_api.v1.{method}")
    return (await asyncio.to_thread(run, found, *words)).json()


async def schedctl(server: Server, *words: str, code: int = 0) -> str:
    """What the command prints."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "scheduler_server.schedctl", *words, "--server", server.address,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=PLAIN_ENVIRONMENT,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 60.0)
    assert process.returncode == code, (out, err)
    return out.decode()


async def plain(server: Server, *words: str) -> Any:
    """What the command prints for programs."""
    return snake(json.loads(await schedctl(server, *words, "-o", "json")))


def seconds(said: str) -> float:
    """A span ("1.5s") or an instant (RFC 3339) of JSON, in seconds."""
    if said.endswith("s"):
        return float(said[:-1])
    whole, dot, rest = said.removesuffix("Z").partition(".")
    return datetime.fromisoformat(f"{whole}+00:00").timestamp() + float(f"0.{rest}" if dot else 0)


def about(said: float, true: float) -> bool:
    """Not before it happened (clocks are read to the millisecond), and not much later."""
    return true - 0.05 <= said <= true + LATE_S


async def decided(server: Server, task_id: str) -> list[Any]:
    """The record of the decision about a task, from each of those that are asked."""
    asked = await grpcurl(server, "AdminService/GetDecision", task={"task_id": task_id})
    attempt = asked["record"]["decision"]["task"]
    [listed] = (await grpcurl(server, "AdminService/ListDecisions", task_id=task_id))["records"]
    assert listed["decision"]["task"] == attempt
    [shown] = [
        each
        for each in (await plain(server, "decisions", "--limit", "200"))["records"]
        if each["decision"]["task"] == attempt
    ]
    return [asked["record"], listed, shown]


async def why_there(server: Server, task_id: str, true: Ran) -> None:
    """Why was my task put there? And what came of it, where it is over."""
    for record in await decided(server, task_id):
        assert record["decision"]["worker_id"] == true.worker_id
        assert f"{true.worker_id}:" in record["decision"]["reasoning"]
        if true.stopped:
            assert record["outcome"]["status"] == "OUTCOME_STATUS_CANCELLED"
        elif true.ended is not None:
            assert record["outcome"]["status"] == "OUTCOME_STATUS_SUCCEEDED"
            assert about(seconds(record["actual_duration"]), true.took_s)
            assert about(seconds(record["ended_at"]), true.ended)
        assert seconds(record["decision"]["decided_at"]) <= true.began + 0.05
    said = await schedctl(server, "task", task_id)
    assert true.worker_id in said
    assert ("succeeded" in said) == (true.ended is not None and not true.stopped)


async def test_every_question_is_answered_as_it_really_happened(house: House) -> None:
    port = free_port()
    server = await house.server(port=port, **SETTINGS)
    workers = await house.workers(server, "a", "b", slots=2)
    taught = [nap(f"taught-{number}", 0.1 + number % 3 * 0.1) for number in range(9)]
    for task in taught:
        await server.hand_over(task)
    await server.finished(*taught)

    # Four take all slots until they are stopped; three wait behind them, and one that nobody can take.
    running = [nap(f"running-{number}", 600.0) for number in range(4)]
    for task in running:
        await server.hand_over(task)
    await until(lambda: {task.task_id for task in running} <= set(what_happened(*workers)), "all four run")
    waiting = [nap(f"waiting-{number}", 0.2) for number in range(3)]
    impossible = Task(task_id="impossible", task_type="nap", required_capabilities=["gpu"])
    for task in [*waiting, impossible]:
        placed = await server.client.assign(task, delivery=Delivery.STREAM, enqueue=True)
        assert placed.waiting is not None

    promised = await _why_waiting(server, workers, [task.task_id for task in waiting])
    await why_there(server, "running-0", what_happened(*workers)["running-0"])
    status = await grpcurl(server, "AdminService/GetStatus")
    assert int(status["workers"]["healthy"]) == len(workers)
    assert "OK" in await schedctl(server, "check", "--utilization", "off", "--accuracy", "off")

    for task in running:
        await server.client.cancel_task(task.task_id)
    await server.finished(*running, *waiting)
    await until(lambda: all(ran.ended for ran in what_happened(*workers).values()), "the workers are done")
    true = what_happened(*workers)
    assert sorted(true) == sorted(task.task_id for task in (*taught, *running, *waiting))
    assert {task_id for task_id, ran in true.items() if ran.stopped} == {task.task_id for task in running}
    await eventually(lambda: _all_in_the_log(server, len(taught) + len(waiting)), "every outcome is in the log")
    await _when_it_started(server, true, promised)
    await why_there(server, "taught-0", true["taught-0"])
    await _prediction_any_good(server, true, live=True)

    # One worker dies: is the fleet all right?
    lost, left = workers
    await server.hand_over(last := nap("last", 600.0, excluded_workers=["b"]))
    await until(lambda: last.task_id in what_happened(lost), "it runs")
    lost.signal(SIGKILL)
    await _fleet_after_a_loss(server, lost.worker_id, left.worker_id)

    # A month later, so to speak: the server is another, and has nothing but its log.
    assert await server.terminate() == 0
    again = await house.server(port=port, assignment_ended_kept=1, **SETTINGS)
    await again.connected(left.worker_id)
    for task_id in ("running-3", "waiting-2"):
        await why_there(again, task_id, true[task_id])
        assert "from the decision log" in await schedctl(again, "task", task_id)
    await _when_it_started(again, true, {"waiting-0": promised["waiting-0"]})
    await _prediction_any_good(again, true, live=False)
    await _fleet_from_the_log(again, true)


async def _all_in_the_log(server: Server, count: int) -> bool:
    request = {"outcomes": ["OUTCOME_STATUS_SUCCEEDED"], "page_size": 100}
    return len((await grpcurl(server, "AdminService/ListDecisions", **request)).get("records", [])) == count


# ---------------------------------------------------------------------- why is it waiting, when will it start?


async def _why_waiting(server: Server, workers: list[WorkerProcess], task_ids: list[str]) -> dict[str, Any]:
    """What is told of tasks that wait, held against what runs; answers what was promised of each."""
    promised = {}
    busy = {task_id for task_id, ran in what_happened(*workers).items() if ran.ended is None}
    for place, task_id in enumerate(task_ids):
        for told in (
            await grpcurl(server, "AdminService/ExplainWaiting", task={"task_id": task_id}),
            await plain(server, "explain", task_id),
        ):
            assert told["task"]["waiting"]["blocking"] == "BLOCKING_REASON_NO_FREE_SLOT"
            assert [each["task"]["task_id"] for each in told.get("ahead", [])] == task_ids[:place]
            assert {each["task"]["task_id"] for each in told["next_slots"]} <= busy
            promised[task_id] = told["task"]["waiting"]
    assert "no free slot" in await schedctl(server, "explain", task_ids[0])
    listed = await plain(server, "queue")
    names = [each["task"]["task_id"] for each in listed["tasks"]]
    assert [name for name in names if name != "impossible"] == task_ids
    assert "impossible" in names
    told = await grpcurl(server, "AdminService/ExplainWaiting", task={"task_id": "impossible"})
    assert told["task"]["waiting"]["blocking"] == "BLOCKING_REASON_NO_WORKER_COULD_EVER"
    assert "expected_start_p50" not in told["task"]["waiting"]
    for said in (told["text"], await schedctl(server, "explain", "impossible")):
        assert "gpu" in said
    return promised


async def _when_it_started(server: Server, true: dict[str, Ran], promised: dict[str, Any]) -> None:
    """When will it start: what was promised is on record, beside the wait that it came to."""
    for task_id, told in promised.items():
        p50, p90 = (seconds(told[f"expected_start_{which}"]) for which in ("p50", "p90"))
        assert seconds(told["as_of"]) <= p50 <= p90
        for record in await decided(server, task_id):
            came = seconds(record["enqueued_at"])
            assert came <= seconds(record["decision"]["decided_at"]) <= true[task_id].began + 0.05
            assert about(true[task_id].began - came, seconds(record["actual_wait"]))
            on_record = record["predicted_wait"]  # the first answer, at its coming: what is judged
            assert came <= seconds(on_record["expected_start_p50"]) <= seconds(on_record["expected_start_p90"])


# ---------------------------------------------------------------------- is the prediction any good?


async def _prediction_any_good(server: Server, true: dict[str, Ran], *, live: bool) -> None:
    """The shares that are told, held against the predictions of record and the times that the workers logged."""
    true = {task_id: ran for task_id, ran in true.items() if not ran.stopped}  # only these are judged
    records = (await grpcurl(server, "AdminService/ListDecisions", page_size=100, task_type="nap"))["records"]
    ratios = {
        each["decision"]["task"]["task_id"]: each["decision"]["predicted_duration_ms"] / 1_000.0
        / true[each["decision"]["task"]["task_id"]].took_s
        for each in records
        if each["decision"]["task"]["task_id"] in true and each["outcome"]["status"] != "OUTCOME_STATUS_LOST"
    }  # fmt: skip
    assert set(ratios) == set(true)
    # A worker's own clock and this one's differ by milliseconds: those at the limit may fall to either side.
    sure, perhaps = (sum(1 / limit <= each <= limit for each in ratios.values()) for limit in (1.9, 2.1))
    asked = {} if live else {"range": {"start": "2020-01-01T00:00:00Z"}}
    told = await grpcurl(server, "AdminService/GetAccuracy", by_task_type=True, **asked)
    [of_type] = [row["accuracy"] for row in told["rows"] if row.get("task_type") == "nap"]
    answers = [told["overall"], of_type]
    if live:
        shown = await plain(server, "predictions")
        answers += [each["accuracy"] for each in shown["rows"]]
        assert "nap" in await schedctl(server, "predictions")
    for answer in answers:
        assert int(answer["sample_count"]) == len(true)
        assert sure <= round(answer.get("within_factor_2", 0.0) * len(true)) <= perhaps


# ---------------------------------------------------------------------- is the fleet all right?


async def _fleet_after_a_loss(server: Server, lost: str, left: str) -> None:
    async def raised() -> bool:
        alerts = (await grpcurl(server, "AdminService/ListAlerts", rule="workers_lost")).get("alerts", [])
        return any(each["state"] == "ALERT_STATE_RAISED" for each in alerts)

    await eventually(raised, "the loss is an alert")
    assert "workers_lost" in await schedctl(server, "alerts")
    listed = {each["worker_id"]: each for each in (await grpcurl(server, "AdminService/ListWorkers"))["workers"]}
    shown = {each["worker_id"]: each for each in (await plain(server, "workers"))["workers"]}
    for workers in (listed, shown):
        assert workers[lost]["health"] == "WORKER_HEALTH_UNHEALTHY"
        assert not workers[lost].get("connected", False)
        assert workers[left]["health"] == "WORKER_HEALTH_HEALTHY"
    assert "1 unhealthy" in await schedctl(server, "status")
    assert lost in await schedctl(server, "events", "--kind", "worker_lost", "--last", "10")
    assert await schedctl(server, "check", "--utilization", "off", "--accuracy", "off", code=1)


async def _fleet_from_the_log(server: Server, true: dict[str, Ran]) -> None:
    """Who did how much, of a run that is over."""
    request = {"range": {"start": "2020-01-01T00:00:00Z"}, "by_worker": True}
    told = await grpcurl(server, "AdminService/GetUtilization", **request)
    for worker_id in ("a", "b"):
        done = [ran for ran in true.values() if ran.worker_id == worker_id and not ran.stopped]
        rows = [row for row in told["rows"] if row.get("worker_id") == worker_id]
        assert sum(int(row.get("completed", 0)) for row in rows) == len(done)
        busy = sum(seconds(row.get("busy_time", "0s")) for row in rows)
        assert sum(ran.took_s for ran in done) - 0.5 <= busy
    assert int(told["overall"]["completed"]) == sum(not ran.stopped for ran in true.values())
