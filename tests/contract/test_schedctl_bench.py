"""`schedctl bench` against the real server: what it measures, what it leaves behind, and when it does nothing."""

import asyncio
import io
import json
from typing import Any

import grpc
import pytest
from grpc.aio import Metadata

from scheduler_api.v1 import admin_service_pb2 as admin
from scheduler_api.v1 import admin_service_pb2_grpc, task_pb2
from scheduler_server.client import AsyncSchedulerClient, SchedulerError
from scheduler_server.schedctl.bench.load import Load, Plan
from scheduler_server.schedctl.main import run
from scheduler_server.schedctl.work import Surroundings
from tests.contract.server import Running
from tests.contract.test_schedctl import ctl, typed, worker

SHORT = ("bench", "--duration", "0.2s", "--yes")


def asked(server: Running) -> Any:
    return admin_service_pb2_grpc.AdminServiceStub(server.channel)


async def status(server: Running) -> admin.GetStatusResponse:
    answer: admin.GetStatusResponse = await asked(server).GetStatus(admin.GetStatusRequest())
    return answer


def plan(**fields: Any) -> Plan:
    told: dict[str, Any] = {"run": "r", "duration_s": 0.05, "callers": 2, "timeout_s": 5.0}
    return Plan(task=task_pb2.Task(task_type="schedctl-bench"), **told | fields)


async def test_a_load_is_measured_and_leaves_no_lease_and_nothing_learned(live: Running) -> None:
    await worker(live, "w", slots=4)
    told = (await ctl(live, *SHORT, "--callers", "4", "-o", "json")).json()
    assign, end, idle = told["calls"]
    assert [each["call"] for each in told["calls"]] == ["Assign", "ReportOutcome", "health Check"]
    assert assign["answered"] == end["answered"] > 0
    assert idle["answered"] > 0
    for each in told["calls"]:
        assert 0 < each["p50_ms"] <= each["p90_ms"] <= each["p99_ms"] <= each["max_ms"]
        assert each["failed"] == 0
    assert (told["loop"], told["errors"], told["leases_left"], told["unsent"]) == ("closed", [], 0, 0)
    assert told["latency_ratio"] > 0
    assert told["throughput_ratio"] > 0
    after = await status(live)
    assert after.leases == 0
    assert sum(each.count for each in after.decisions) == assign["answered"]
    accuracy = await asked(live).GetAccuracy(admin.GetAccuracyRequest(by_task_type=True))
    assert (accuracy.overall.sample_count, len(accuracy.rows)) == (0, 0)
    seen = (await asked(live).GetWorker(admin.GetWorkerRequest(worker_id="w"))).worker
    assert (seen.completed, seen.failed, seen.free_slots) == (0, 0, 4)


async def test_it_is_told_as_a_table(live: Running) -> None:
    await worker(live, "w")
    ran = await ctl(live, *SHORT)
    assert ran.code == 0
    for said in ("as fast as it goes, at most 8 at a time", "CALL", "P99", "health Check", "of a health check"):
        assert said in ran.out


async def test_at_a_rate_as_many_calls_are_due_as_were_asked_for(live: Running) -> None:
    await worker(live, "w")
    told = (await ctl(live, *SHORT, "--rate", "100", "-o", "json")).json()
    assert (told["loop"], told["rate"], told["throughput_ratio"]) == ("open", 100, None)
    made = sum(each["answered"] + each["failed"] for each in told["calls"] if each["call"] != "ReportOutcome")
    assert made + told["unsent"] == 20 + 5  # tasks in 0.2 s, and checks in a quarter of it


async def test_refusals_are_counted_by_code_and_reason(live: Running) -> None:
    await worker(live, "w")
    ran = await ctl(live, *SHORT, "--requires", "gpu", "-o", "json")
    assert ran.code == 1  # nothing was placed
    told = json.loads(ran.out)
    [fault] = told["errors"]
    assert (fault["call"], fault["code"], fault["reason"]) == ("Assign", "FAILED_PRECONDITION", "NO_CAPABLE_WORKER")
    assert fault["count"] == told["calls"][0]["failed"] > 0
    assert told["latency_ratio"] is None
    assert "FAILED_PRECONDITION NO_CAPABLE_WORKER" in (await ctl(live, *SHORT, "--requires", "gpu")).out


async def test_a_worker_of_whom_nobody_reports_is_counted_by_estimate_afterwards_too(live: Running) -> None:
    await live.worker("bare", cpu_usage=0.1, queue_depth=0)
    told = (await ctl(live, *SHORT, "-o", "json")).json()
    assert told["calls"][1]["call"] == "CancelTask"
    assert told["calls"][1]["answered"] == told["calls"][0]["answered"] > 0
    after = await status(live)
    assert (after.workers.sampled, after.leases) == (1, 0)


async def test_nothing_is_done_unless_it_is_meant(live: Running) -> None:
    await worker(live, "w")
    ran = await ctl(live, "bench")
    assert (ran.code, ran.out) == (2, "")
    assert "up to 8 slots" in ran.err
    assert "--yes says that it is meant" in ran.err
    for answer, code, said in [("\n", 1, "nothing was done"), ("no\n", 1, "nothing was done"), ("y\n", 0, "")]:
        out, err = io.StringIO(), io.StringIO()
        asked = _Typing(answer)
        environment = {"SCHEDCTL_CONFIG": "/nowhere", "SCHEDCTL_SERVER": live.app.address}
        around = Surroundings(stdin=asked, stdout=out, stderr=err, environment=environment)
        assert await asyncio.to_thread(run, ["bench", "--duration", "0.1s"], around) == code
        assert "8 slots" in err.getvalue()
        assert "2 free" in err.getvalue()
        assert said in err.getvalue()
        assert bool(out.getvalue()) == (code == 0)
    assert (await status(live)).leases == 0


class _Typing(io.StringIO):
    """Somebody at a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--duration", "0.09s"], "--duration must be 0.1 s to an hour, not 0.09s"),
        (["--duration", "3601s"], "--duration must be 0.1 s to an hour"),
        (["--rate", "0"], "must be a whole number from 1 to 100,000"),
        (["--callers", "1001"], "must be a whole number from 1 to 1,000"),
        (["--callers", "0"], "must be a whole number from 1 to 1,000"),
        (["--ratte", "5"], "did you mean '--rate'"),
    ],
)
def test_what_cannot_be_is_refused_by_name_value_and_limit(words: list[str], said: str) -> None:
    ran = typed("bench", "--yes", *words)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err


def test_a_server_that_is_not_there_is_told_in_one_line() -> None:
    ran = typed(*SHORT, SCHEDCTL_SERVER="127.0.0.1:1")
    assert ran.code == 1
    assert "cannot reach 127.0.0.1:1" in ran.err
    assert ran.err.count("\n") == 1


# ---------------------------------------------------------------------- what is left behind


class _Answers:
    """A stub whose method does its work, and whose answers are lost as often as `lost` says."""

    def __init__(self, method: Any, lost: int) -> None:
        self._method, self._lost = method, lost

    async def __call__(self, request: Any, **options: Any) -> Any:
        answer = await self._method(request, **options)
        if self._lost:
            self._lost -= 1
            raise grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, Metadata(), Metadata(), "the answer was lost")
        return answer


@pytest.mark.parametrize("method", ["Assign", "ReportOutcome"])
async def test_leases_of_answers_that_were_lost_are_given_back(live: Running, method: str) -> None:
    await worker(live, "w", slots=4)
    async with AsyncSchedulerClient(live.app.address) as client:
        setattr(client.schedule, method, _Answers(getattr(client.schedule, method), 1))
        tally = await Load(client, plan()).run()
    assert sum(tally.faults.values()) == 1
    assert tally.left == 0
    assert (await status(live)).leases == 0


async def test_what_could_not_be_given_back_is_counted(live: Running) -> None:
    await worker(live, "w", slots=2)
    async with AsyncSchedulerClient(live.app.address) as client:

        async def dead(request: Any, **_: Any) -> Any:
            raise grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, Metadata(), Metadata(), "gone")

        client.schedule.ReportOutcome = client.schedule.CancelTask = dead  # type: ignore[assignment] # a server that is gone
        tally = await Load(client, plan()).run()
    assert tally.left == (await status(live)).leases == 2


async def test_what_is_ended_early_gives_back_what_it_holds(live: Running) -> None:
    await worker(live, "w", slots=2)
    async with AsyncSchedulerClient(live.app.address) as client:
        load = Load(client, plan(duration_s=3_600.0))
        assigned = client.schedule.Assign

        async def assign(request: Any, **options: Any) -> Any:
            answer = await assigned(request, **options)
            if load.tally.assign.taken.count == 5:
                load.stop()
            return answer

        client.schedule.Assign = assign  # type: ignore[assignment] # ends it in the middle
        tally = await load.run()
    assert tally.interrupted
    assert (tally.left, (await status(live)).leases) == (0, 0)


async def test_a_server_that_is_gone_before_the_first_call_is_an_error(live: Running) -> None:
    async with AsyncSchedulerClient("127.0.0.1:1") as client:
        with pytest.raises(SchedulerError):
            await Load(client, plan()).run()
