"""Workers that fail out of line, as the wire tells of them, and ReinstateWorker; each code of it."""

from dataclasses import replace
from typing import Any

import pytest

from scheduler_api.v1 import admin_service_pb2 as admin
from scheduler_api.v1 import decision_pb2, worker_pb2
from scheduler_server.model.fleet_event import FleetEventKind
from scheduler_server.settings import StorageSettings
from scheduler_server.storage.memory_journal import UnavailableJournal
from tests.contract.server import WALL_S, Problem, Running, refused, running, settings
from tests.contract.test_schedctl import ctl
from tests.contract.test_steering import ask

_FLEET = ("w1", "w2", "w3")
_FAILED = 2
LONGEST = "x" * 4_096


async def fails(live: Running, worker_id: str = "w1", *, until: bool = True, **task: Any) -> None:
    """Every worker does a task, one of them badly, until that one is ejected (or for long)."""
    for number in range(60):
        for each in _FLEET:
            others = [other for other in _FLEET if other != each]
            decision = await live.assign(f"{each}-{number}", excluded_workers=others, **task)
            await live.report(decision.decision.lease_id, _FAILED if each == worker_id else 1)
        if until and live.record(worker_id).ejected:
            return
    assert not until


@pytest.fixture
async def fleet(live: Running) -> Running:
    for each in _FLEET:
        registration = worker_pb2.WorkerRegistration(max_concurrent_tasks=4, reports_outcomes=True)
        await live.worker(each, registration=registration)
    return live


async def worker(live: Running, worker_id: str = "w1") -> admin.Worker:
    told: admin.Worker = (await ask(live, "GetWorker", worker_id=worker_id)).worker
    return told


async def problem(live: Running, **fields: object) -> Problem:
    return await refused(ask(live, "ReinstateWorker", **fields))


async def test_an_ejected_worker_is_told_of_everywhere(fleet: Running) -> None:
    await fails(fleet)
    told = await worker(fleet)
    assert told.ejected_until.seconds >= WALL_S + 30
    assert told.rejection == decision_pb2.REJECTION_REASON_EJECTED
    assert "elsewhere 0 of" in told.rejection_detail
    assert "ReinstateWorker" in told.rejection_detail
    assert (told.times_ejected, told.on_trial, told.max_concurrent_tasks) == (1, False, 4)
    assert (await ask(fleet, "GetStatus")).workers.ejected == 1
    assert (await ask(fleet, "GetLoad")).workers.ejected == 1
    listed = await ask(fleet, "ListWorkers", rejection=decision_pb2.REJECTION_REASON_EJECTED)
    assert [each.worker_id for each in listed.workers] == ["w1"]
    refusal = await refused(fleet.assign("next", excluded_workers=["w2", "w3"]))
    assert refusal.rejections()["REJECTION_REASON_EJECTED"] == 1
    assert fleet.told(FleetEventKind.WORKER_EJECTED) == [("WORKER_EJECTED", "w1", "in", "ejected")]


async def test_a_worker_on_trial_is_told_with_one_slot(fleet: Running) -> None:
    await fails(fleet)
    fleet.forward(29.5)
    assert (await worker(fleet)).HasField("ejected_until")
    fleet.record("w1").last_seen += 31.0  # it beats
    fleet.forward(1.0)
    told = await worker(fleet)
    assert (told.on_trial, told.times_ejected, told.HasField("ejected_until")) == (True, 1, False)
    assert (told.max_concurrent_tasks, told.free_slots) == (4, 1)


async def test_a_reinstated_worker_has_tasks_at_once(fleet: Running) -> None:
    await fails(fleet)
    told = (await ask(fleet, "ReinstateWorker", worker_id="w1", reason="a new disk")).worker
    assert not told.HasField("ejected_until")
    assert (told.times_ejected, told.rejection, told.free_slots) == (0, 0, 4)
    assert fleet.told(FleetEventKind.WORKER_REINSTATED) == [("WORKER_REINSTATED", "w1", "ejected", "in")]
    assert (await fleet.assign("t", excluded_workers=["w2", "w3"])).decision.worker_id == "w1"


async def test_reinstating_one_that_is_not_ejected_changes_nothing(fleet: Running) -> None:
    told = (await ask(fleet, "ReinstateWorker", worker_id="w1")).worker
    assert told.worker_id == "w1"
    assert not fleet.told(FleetEventKind.WORKER_REINSTATED)


async def test_reinstating_one_that_left_lets_it_come_back(fleet: Running) -> None:
    await fails(fleet)
    await ask(fleet, "RemoveWorker", worker_id="w1")
    assert not (await ask(fleet, "ReinstateWorker", worker_id="w1")).HasField("worker")
    assert (await problem(fleet, worker_id="w1")).reason == "WORKER_UNKNOWN"
    await fleet.worker("w1", registration=worker_pb2.WorkerRegistration(max_concurrent_tasks=4, reports_outcomes=True))
    assert not fleet.record("w1").ejected


async def test_reinstating_is_refused_with_the_codes_that_the_contract_names(fleet: Running) -> None:
    unknown = await problem(fleet, worker_id="w9")
    assert (unknown.code, unknown.reason) == ("NOT_FOUND", "WORKER_UNKNOWN")
    assert (await problem(fleet, worker_id="")).fields == ["worker_id"]
    await ask(fleet, "ReinstateWorker", worker_id="w1", reason=LONGEST)
    assert (await problem(fleet, worker_id="w1", reason=LONGEST + "x")).fields == ["reason"]


async def test_what_cannot_be_stored_changes_nothing(fleet: Running) -> None:
    await fails(fleet)
    shell = fleet.app.shell
    journal, shell.journal = shell.journal, UnavailableJournal("the disk is gone")
    try:
        told = await problem(fleet, worker_id="w1")
    finally:
        shell.journal = journal
    assert (told.code, told.reason) == ("UNAVAILABLE", "STORE_UNAVAILABLE")
    assert fleet.record("w1").ejected


async def test_an_ejection_survives_a_restart(tmp_path: object) -> None:
    kept = replace(settings(), storage=StorageSettings(state_folder=str(tmp_path)))
    registration = worker_pb2.WorkerRegistration(max_concurrent_tasks=4, reports_outcomes=True)
    async with running(kept) as live:
        for each in _FLEET:
            await live.worker(each, registration=registration)
        await fails(live)
    async with running(kept) as live:
        await live.worker("w1", registration=registration)
        assert (await worker(live)).HasField("ejected_until")


async def test_one_that_is_spared_is_told_of_in_status_and_events(fleet: Running) -> None:
    gpu = worker_pb2.WorkerRegistration(max_concurrent_tasks=4, reports_outcomes=True, capabilities=["gpu"])
    await fleet.worker("w1", registration=gpu)
    await fleet.assign("only", required_capabilities=["gpu"])
    await fails(fleet, until=False)
    told = await worker(fleet)
    assert "nobody else could be given tasks that require 'gpu'" in told.spared_detail
    (part,) = (await ask(fleet, "GetStatus")).degraded
    assert part.name == "worker.w1"
    assert told.spared_detail in part.detail
    assert len(fleet.told(FleetEventKind.WORKER_EJECTION_CAPPED)) == 1


async def test_a_newcomer_tells_what_share_of_its_slots_it_has(fleet: Running) -> None:
    fleet.forward(11.0)
    for each in _FLEET:
        fleet.record(each).last_seen += 11.0
    registration = worker_pb2.WorkerRegistration(max_concurrent_tasks=8, reports_outcomes=True)
    await fleet.worker("new", registration=registration)
    told = await worker(fleet, "new")
    assert (told.ramp, told.max_concurrent_tasks, told.free_slots) == (0.25, 8, 2)
    assert not (await worker(fleet)).HasField("ramp")


async def test_the_features_are_named(live: Running) -> None:
    assert {"ejection", "ramp", "reinstate_worker"} <= set((await ask(live, "GetStatus")).features)


async def test_schedctl_shows_and_reinstates(fleet: Running) -> None:
    await fails(fleet)
    assert "ejected" in (await ctl(fleet, "workers")).out
    shown = (await ctl(fleet, "worker", "w1")).out
    assert "once; tried" in shown
    assert "1 ejected" in (await ctl(fleet, "status")).out
    ran = await ctl(fleet, "reinstate", "w1", "--reason", "mended")
    assert (ran.code, ran.out) == (0, "nothing is held against worker w1 any more\n")
    assert (await ctl(fleet, "reinstate", "w9")).code == 1
