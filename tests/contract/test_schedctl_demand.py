"""`schedctl demand` and `schedctl rebalance`, against a real server."""

import json

from scheduler_api.v1 import schedule_service_pb2 as api
from scheduler_api.v1 import worker_pb2
from tests.contract.server import DEADLINE_S, Running, task
from tests.contract.test_rebalance import forgotten, staged
from tests.contract.test_schedctl import ctl

ONE = worker_pb2.WorkerRegistration(max_concurrent_tasks=1, reports_outcomes=True, capabilities=["gpu"])


async def enqueue(live: Running, *names: str, **fields: object) -> None:
    for name in names:
        request = api.AssignRequest(task=task(name, **fields), enqueue=api.Enqueue())
        await live.stub.Assign(request, timeout=DEADLINE_S)


async def test_the_demand_is_told_by_what_tasks_need(live: Running) -> None:
    assert (await ctl(live, "demand")).out.splitlines()[-1] == "nothing waits"
    live.app.admin.demand.trends.turn()  # as if the server had not looked yet: the load is what is in use
    await live.worker("w1", registration=ONE)
    await enqueue(live, "t1", "t2", "t3", "t4", required_capabilities=["gpu"])
    told = (await ctl(live, "demand", "--target", "5s")).out
    lines = told.splitlines()
    assert lines[0].split() == ["target", "wait", "5.00s"]
    assert "3" in lines[1]
    assert "1, 2 slots missing" in lines[2]
    assert lines[4].split()[:7] == ["NEEDS", "WAITING", "WORK", "SLOTS", "USED", "NEEDED", "MISSING"]
    assert lines[5].split()[:7] == ["gpu", "3", "15s", "1", "1", "3", "+2"]


async def test_the_demand_as_json_has_the_contracts_names(live: Running) -> None:
    await enqueue(live, "t1")
    said = json.loads((await ctl(live, "demand", "--idle", "-o", "json")).out)
    assert said["target_wait"] == "30s"
    assert said["classes"][0]["waiting_tasks"] == "1"


async def test_a_target_out_of_range_is_told(live: Running) -> None:
    ran = await ctl(live, "demand", "--target", "0s")
    assert (ran.code, "target_wait" in ran.err) == (1, True)
    assert (await ctl(live, "demand", "--target", "soon")).code == 2


async def test_what_would_be_placed_and_moved_is_shown_before_it_is_done(live: Running) -> None:
    assert (await ctl(live, "rebalance")).out.splitlines() == [
        "nothing waits that could be placed",
        "0 staged tasks asked back, to start sooner elsewhere",
    ]
    await forgotten(live, "t1", "t2", "t3")
    tried = (await ctl(live, "rebalance", "--dry-run", "--waiting-only")).out.splitlines()
    assert tried[0] == "3 of 3 waiting tasks looked at, 2 would be placed"
    assert [line.split()[:2] for line in tried[1:]] == [["TASK", "WORKER"], ["t1", "new"], ["t2", "new"]]
    done = (await ctl(live, "rebalance", "--waiting-only", "--reason", "a look")).out.splitlines()
    assert done[0] == "3 of 3 waiting tasks looked at, 2 placed"


async def test_staged_tasks_are_moved_with_what_they_gain(live: Running) -> None:
    await staged(live)
    await live.sdk_worker("idle", slots=1)
    told = (await ctl(live, "rebalance", "--dry-run")).out.splitlines()
    assert told[1] == "1 staged task would be asked back"
    assert [line.split() for line in told[2:]] == [
        ["TASK", "FROM", "TO", "SOONER", "BY"],
        ["t2", "full", "idle", "5.00s"],
    ]
    assert live.core.rebalancing.asked_back == 0
    assert "1 staged task asked back" in (await ctl(live, "rebalance")).out
    assert live.core.rebalancing.asked_back == 1


async def test_the_limit_has_bounds(live: Running) -> None:
    assert (await ctl(live, "rebalance", "--limit", "0")).code == 2
    assert (await ctl(live, "rebalance", "--limit", "1001")).code == 2
    assert (await ctl(live, "rebalance", "--limit", "1000")).code == 0
