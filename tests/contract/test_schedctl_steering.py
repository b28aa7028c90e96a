"""schedctl's orders and the audit, against a real server."""

from dataclasses import replace
from pathlib import Path

from scheduler_api.v1 import schedule_service_pb2 as api
from scheduler_api.v1 import worker_pb2
from scheduler_server.settings import StorageSettings
from tests.contract.server import DEADLINE_S, Running, running, settings, task
from tests.contract.test_schedctl import ctl

ONE = worker_pb2.WorkerRegistration(max_concurrent_tasks=1, reports_outcomes=True)


async def test_workers_are_cordoned_and_uncordoned(live: Running) -> None:
    await live.worker("w1", registration=ONE)
    ran = await ctl(live, "cordon", "w1", "--reason", "a new disk")
    assert (ran.code, ran.out) == (0, "worker w1 is cordoned: no new tasks, and 0 leases that go on\n")
    assert "a new disk" in (await ctl(live, "worker", "w1")).out
    assert (await ctl(live, "uncordon", "w1")).out == "worker w1 may have tasks again\n"
    assert (await ctl(live, "cordon", "w2")).code == 1


async def test_the_queue_is_paused_listed_and_resumed(live: Running) -> None:
    assert (await ctl(live, "pauses", "list")).out == "nothing is paused\n"
    ran = await ctl(live, "pauses", "add", "--type", "resize", "--for", "90s", "--reason", "bad input")
    assert ran.out == "paused: tasks of type resize for 1m30s; 0 tasks held back\n"
    listed = (await ctl(live, "pauses", "list")).out
    assert "tasks of type resize" in listed
    assert "bad input" in listed
    assert (await ctl(live, "pauses", "end")).code == 1
    assert (await ctl(live, "pauses", "end", "--type", "resize")).out.startswith("resumed: tasks of type resize")


async def test_breakers_and_the_fallback_are_steered(live: Running) -> None:
    assert (await ctl(live, "breaker", "trip", "--type", "x")).out == "the breaker for tasks of type x is open\n"
    assert (await ctl(live, "breaker", "reset", "--all-types")).out == "1 breaker closed\n"
    assert (await ctl(live, "breaker", "reset", "--all-types", "--type", "x")).code == 2
    ran = await ctl(live, "fallback", "force", "--for", "1m")
    assert ran.out == "all tasks are placed by the fallback for 1m00s\n"
    assert (await ctl(live, "fallback", "release")).out == "all tasks are placed by prediction again\n"


async def test_a_waiting_task_is_given_another_priority(live: Running) -> None:
    await live.worker("w1", registration=ONE)
    await live.assign("runs")
    await live.stub.Assign(api.AssignRequest(task=task("t"), enqueue=api.Enqueue()), timeout=DEADLINE_S)
    ran = await ctl(live, "priority", "t", "1")
    assert ran.out == "task t: priority 1, 0 ahead of it, 0 before\n"
    assert (await ctl(live, "priority", "t", "2")).code == 1


async def test_what_was_learned_is_forgotten_only_where_that_is_meant(live: Running) -> None:
    assert (await ctl(live, "learned", "list")).out == "nothing like that was learned\n"
    assert (await ctl(live, "learned", "forget", "--all")).code == 2
    assert (await ctl(live, "learned", "forget", "--all", "--yes")).out == "0 keys forgotten\n"


async def test_the_audit_tells_who_did_what(tmp_path: Path) -> None:
    kept = replace(settings(), storage=StorageSettings(state_folder=str(tmp_path / "state")))
    async with running(kept) as live:
        await live.worker("w1", registration=ONE)
        assert (await ctl(live, "audit")).out == "no entries match\n"
        await ctl(live, "cordon", "w1", "--reason", "a new disk")
        await ctl(live, "uncordon", "w2")
        told = (await ctl(live, "audit")).out
        assert "CordonWorker" in told
        assert "not_found" in told
        assert "UncordonWorker" not in (await ctl(live, "audit", "--about", "w1")).out
        assert '"entries": []' in (await ctl(live, "audit", "--author", "nobody", "-o", "json")).out
