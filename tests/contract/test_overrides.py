"""Overrides on the wire: made, listed, ended; each code that the contract names; kept over a restart."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Value

from scheduler_api.v1 import admin_service_pb2 as admin
from scheduler_api.v1 import admin_service_pb2_grpc, decision_pb2, task_pb2
from scheduler_api.v1 import schedule_service_pb2 as api
from scheduler_server.model.fleet_event import FleetEventKind
from scheduler_server.model.override import Action
from scheduler_server.rpc.server import ServerSettings
from scheduler_server.settings import Settings, StorageSettings
from scheduler_server.storage.snapshot_store import SnapshotError
from tests.contract.server import DEADLINE_S, WALL_S, Clock, Problem, Running, refused, running, span, task, until


def stub(server: Running) -> Any:
    return admin_service_pb2_grpc.AdminServiceStub(server.channel)


def pin(*workers: str, **labels: str) -> dict[str, Any]:
    return {"pin": admin.OverridePin(worker_ids=workers, match_labels=labels)}


def exclude(*workers: str, **labels: str) -> dict[str, Any]:
    return {"exclude": admin.OverrideExclude(worker_ids=workers, match_labels=labels)}


def cap(most: int) -> dict[str, Any]:
    return {"cap": admin.OverrideCap(max_concurrent=most)}


def request(action: dict[str, Any], *, force: bool = False, dry_run: bool = False, **fields: Any) -> Any:
    scope = fields.pop("scope", admin.OverrideScope(task_type="t"))
    made = admin.Override(scope=scope, **action, **fields)
    return admin.CreateOverrideRequest(override=made, force=force, dry_run=dry_run)


def create(server: Running, action: dict[str, Any], **fields: Any) -> Any:
    return stub(server).CreateOverride(request(action, **fields), timeout=DEADLINE_S)


def delete(server: Running, override_id: str, **fields: Any) -> Any:
    asked = admin.DeleteOverrideRequest(override_id=override_id, **fields)
    return stub(server).DeleteOverride(asked, timeout=DEADLINE_S)


async def listed(server: Running, **fields: Any) -> list[admin.Override]:
    answer = await stub(server).ListOverrides(admin.ListOverridesRequest(**fields), timeout=DEADLINE_S)
    return list(answer.overrides)


async def workers(server: Running, *worker_ids: str, slots: int = 2) -> list[Any]:
    return [await server.sdk_worker(worker_id, slots=slots) for worker_id in worker_ids]


def kept_in(folder: Path) -> Settings:
    return Settings(storage=StorageSettings(state_folder=str(folder)), server=ServerSettings(listen="127.0.0.1:0"))


# ---------------------------------------------------------------------- made


async def test_a_pin_is_answered_whole_and_decides_from_the_next_decision_on(live: Running) -> None:
    await workers(live, "w1", "w2", "w3")
    answer = await create(live, pin("w2"), reason="its cache is warm")
    made = answer.override
    assert (made.override_id, made.author, made.reason) == ("o-2", "anonymous", "its cache is warm")
    assert made.created_at.seconds == int(WALL_S)
    assert answer.policy_revision == 2
    assert list(answer.warnings) == ["not kept over a restart: storage.state_folder is empty"]
    decision = (await live.assign("t1", task_type="t")).decision
    assert decision.worker_id == "w2"
    assert decision.source == decision_pb2.DECISION_SOURCE_OVERRIDE
    assert decision.cause == decision_pb2.DECISION_CAUSE_OVERRIDE_PIN
    assert decision.policy_revision == 2
    assert [(each.override_id, each.applied_count) for each in await listed(live)] == [("o-2", 1)]
    assert live.told(FleetEventKind.OVERRIDE_CREATED) == [("OVERRIDE_CREATED", "", "1", "2")]
    status = await stub(live).GetStatus(admin.GetStatusRequest(), timeout=DEADLINE_S)
    assert (status.policy.overrides, status.policy.revision) == (1, 2)


async def test_workers_that_are_kept_out_are_counted_with_the_reason_override(live: Running) -> None:
    await workers(live, "w1", "w2", slots=1)
    await create(live, exclude("w1"))
    await live.assign("t1", task_type="t")
    problem = await live.refuse("t2", task_type="t")
    assert problem.rejections() == {"REJECTION_REASON_NO_FREE_SLOT": 1, "REJECTION_REASON_OVERRIDE": 1}


async def test_a_cap_refuses_with_its_reason_and_a_time_to_come_back(live: Running) -> None:
    await workers(live, "w1")
    await create(live, cap(1))
    await live.assign("t1", task_type="t")
    problem = await live.refuse("t2", task_type="t")
    assert (problem.code, problem.reason) == ("RESOURCE_EXHAUSTED", "NO_FREE_SLOT")
    assert problem.retry_s is not None
    assert problem.refusal is not None
    assert problem.refusal.blocking == task_pb2.BLOCKING_REASON_OVERRIDE
    assert problem.metadata["override_id"] == "o-2"


async def test_a_dry_run_checks_and_shows_and_does_nothing(live: Running) -> None:
    await workers(live, "w1", "w2")
    answer = await create(live, pin("w1"), dry_run=True)
    assert answer.override.pin.worker_ids == ["w1"]
    assert answer.policy_revision == 2
    assert await listed(live) == []
    assert live.core.placement.policy_revision == 1
    assert (await refused(create(live, pin("x"), dry_run=True))).reason == "OVERRIDE_IMPOSSIBLE"


async def test_the_same_once_more_is_answered_as_it_is_and_another_under_its_id_is_refused(live: Running) -> None:
    await workers(live, "w1", "w2")
    first = await create(live, pin("w1"), override_id="mine")
    again = await create(live, pin("w1"), override_id="mine")
    assert again.override == first.override
    assert again.policy_revision == first.policy_revision == 2
    problem = await refused(create(live, pin("w2"), override_id="mine"))
    assert (problem.code, problem.reason) == ("ALREADY_EXISTS", "OVERRIDE_EXISTS")
    await delete(live, "mine")
    problem = await refused(create(live, pin("w1"), override_id="mine"))
    assert (problem.code, problem.reason) == ("ALREADY_EXISTS", "OVERRIDE_EXISTS")


async def test_what_can_never_apply_is_refused_unless_forced_and_then_warned_about(live: Running) -> None:
    await workers(live, "w1", "w2")
    for action in (pin("w1", "x"), pin(zone="z"), exclude("w1", "w2"), exclude("x")):
        problem = await refused(create(live, action))
        assert (problem.code, problem.reason) == ("FAILED_PRECONDITION", "OVERRIDE_IMPOSSIBLE"), action
    answer = await create(live, pin("x"), force=True)
    assert answer.warnings[0] == "worker 'x' is not known"
    assert len(await listed(live)) == 1


async def test_what_contradicts_another_is_refused_unless_forced(live: Running) -> None:
    await workers(live, "w1", "w2")
    await create(live, pin("w1"), override_id="p")
    for action in (pin("w2"), exclude("w1")):
        problem = await refused(create(live, action))
        assert (problem.code, problem.reason) == ("FAILED_PRECONDITION", "OVERRIDE_CONFLICT")
        assert problem.metadata["override_id"] == "p"
    assert (await create(live, pin("w2"), force=True)).override.pin.worker_ids == ["w2"]
    assert (await live.assign("t", task_type="t")).decision.worker_id == "w2"


async def test_there_may_be_so_many_overrides_and_no_more(live: Running) -> None:
    boost = {"boost": admin.OverrideBoost(priority_delta=0.1)}
    limited = admin.UpdateConfigRequest(values={"limits.overrides": Value(number_value=3)})
    await stub(live).UpdateConfig(limited, timeout=DEADLINE_S)
    for number in range(3):
        await create(live, boost, scope=admin.OverrideScope(task_type=f"t{number}"))
    for dry_run in (False, True):
        problem = await refused(create(live, boost, dry_run=dry_run))
        assert (problem.code, problem.reason) == ("RESOURCE_EXHAUSTED", "TOO_MANY_OVERRIDES")
        assert problem.metadata["limit"] == "limits.overrides"
        assert "limits.overrides is 3" in problem.message
    await delete(live, (await listed(live, page_size=1))[0].override_id)
    await create(live, boost)


async def test_overrides_are_counted_by_kind_in_force_and_applied(live: Running) -> None:
    await workers(live, "w1", "w2")
    overrides = live.app.core.overrides
    await create(live, pin("w1"), override_id="p")
    await create(live, cap(1), override_id="c")
    await live.assign("t", task_type="t")
    await refused(live.assign("held", task_type="t"))
    assert overrides.counts == {Action.PIN: 1, Action.EXCLUDE: 0, Action.CAP: 1, Action.BOOST: 0}
    assert overrides.applied_by_kind == {Action.PIN: 1, Action.EXCLUDE: 0, Action.CAP: 1, Action.BOOST: 0}
    await delete(live, "p")
    assert overrides.counts[Action.PIN] == 0
    assert overrides.applied_by_kind[Action.PIN] == 1


_MANY = tuple(f"w{n:03}" for n in range(257))


@pytest.mark.parametrize(
    ("asked", "fields"),
    [
        (admin.CreateOverrideRequest(), ["override"]),
        (request({}), ["override.action"]),
        (request(pin("w"), scope=admin.OverrideScope()), ["override.scope"]),
        (request(pin()), ["override.pin"]),
        (request(exclude()), ["override.exclude"]),
        (request(pin(*_MANY)), ["override.pin.worker_ids"]),
        (request({"cap": admin.OverrideCap()}), ["override.cap.max_concurrent"]),
        (request(cap(1_000_001)), ["override.cap.max_concurrent"]),
        (request({"boost": admin.OverrideBoost()}), ["override.boost.priority_delta"]),
        (request({"boost": admin.OverrideBoost(priority_delta=1.01)}), ["override.boost.priority_delta"]),
        (request({"boost": admin.OverrideBoost(priority_delta=float("nan"))}), ["override.boost.priority_delta"]),
        (request(cap(1), expires_at={"seconds": int(WALL_S)}), ["override.expires_at"]),
        (request(cap(1), reason="r" * 4_097), ["override.reason"]),
        (request(cap(1), override_id="i" * 257, scope=admin.OverrideScope(task_type="a\n")),
         ["override.override_id", "override.scope.task_type"]),
    ],
)  # fmt: skip
async def test_a_request_out_of_range_is_refused_with_each_field_named(
    live: Running, asked: Any, fields: list[str]
) -> None:
    problem = await refused(stub(live).CreateOverride(asked, timeout=DEADLINE_S))
    assert problem.code == "INVALID_ARGUMENT"
    assert problem.fields == fields
    assert live.core.placement.policy_revision == 1


@pytest.mark.parametrize(
    "action",
    [pin(*_MANY[:256]), cap(0), cap(1_000_000), {"boost": admin.OverrideBoost(priority_delta=-1.0)}],
)
async def test_what_is_just_within_its_range_is_taken(live: Running, action: Any) -> None:
    made = await create(live, action, force=True, reason="r" * 4_096, expires_at={"seconds": int(WALL_S) + 1})
    assert made.policy_revision == 2


# ---------------------------------------------------------------------- listed


async def test_overrides_are_listed_newest_first_filtered_and_in_pages(live: Running) -> None:
    await workers(live, "w1", "w2")
    of_tenant = admin.OverrideScope(tenant="", task_type="t")
    for override_id, action, scope in (
        ("a", pin("w1"), admin.OverrideScope(task_type="t")),
        ("b", cap(3), admin.OverrideScope(tenant="x")),
        ("c", exclude("w2"), of_tenant),
    ):
        await create(live, action, override_id=override_id, scope=scope)
        live.forward(1.0)

    async def names(**fields: Any) -> list[str]:
        return [each.override_id for each in await listed(live, **fields)]

    assert await names() == ["c", "b", "a"]
    assert await names(tenant="") == ["c", "a"]
    assert await names(tenant="x") == ["b", "a"]
    assert await names(task_type="t") == ["c", "b", "a"]
    assert await names(task_type="u") == ["b"]
    assert await names(worker_id="w2") == ["c"]
    page = await stub(live).ListOverrides(admin.ListOverridesRequest(page_size=2), timeout=DEADLINE_S)
    assert [each.override_id for each in page.overrides] == ["c", "b"]
    assert await names(page_size=2, page_token=page.next_page_token) == ["a"]
    await delete(live, "b")
    assert await names() == ["c", "a"]
    assert await names(include_ended=True) == ["c", "b", "a"]
    problem = await refused(stub(live).ListOverrides(admin.ListOverridesRequest(page_token="x"), timeout=DEADLINE_S))
    assert (problem.code, problem.reason) == ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID")


# ---------------------------------------------------------------------- ended


async def test_an_override_ends_when_it_is_deleted_and_a_second_time_it_is_not_known(live: Running) -> None:
    await workers(live, "w1", "w2")
    await create(live, pin("w1"), override_id="p")
    answer = await delete(live, "p", reason="enough")
    assert answer.override.ended_at.seconds == int(WALL_S)
    assert answer.policy_revision == 3
    for override_id in ("p", "never"):
        problem = await refused(delete(live, override_id))
        assert (problem.code, problem.reason) == ("NOT_FOUND", "OVERRIDE_UNKNOWN")
    assert (await refused(delete(live, ""))).fields == ["override_id"]
    assert (await refused(delete(live, "p", reason="r" * 4_097))).fields == ["reason"]


async def test_an_override_ends_by_itself_and_what_waited_for_it_goes(live: Running) -> None:
    await workers(live, "w1")
    await create(live, cap(0), override_id="c", expires_at={"seconds": int(WALL_S) + 5})
    asked = api.AssignRequest(task=task("t1", task_type="t"), wait=span(60.0))
    call = asyncio.ensure_future(live.stub.Assign(asked, timeout=DEADLINE_S))
    await until(lambda: len(live.core.queue.waiting) == 1, "the task waits")
    told = await stub(live).ExplainWaiting(
        admin.ExplainWaitingRequest(task=task_pb2.TaskKey(task_id="t1")), timeout=DEADLINE_S
    )
    assert told.task.waiting.blocking == task_pb2.BLOCKING_REASON_OVERRIDE
    assert [(each.override_id, each.effect) for each in told.overrides] == [("c", "at most 0 at once")]
    assert [each.blocked_tasks for each in await listed(live)] == [1]
    live.forward(4.0)
    assert len(await listed(live)) == 1
    live.forward(1.0)
    assert await listed(live) == []
    assert live.core.placement.policy_revision == 3
    assert (await asyncio.wait_for(call, DEADLINE_S)).decision.policy_revision == 3


# ---------------------------------------------------------------------- explained


async def test_explanations_say_which_overrides_have_a_part(live: Running) -> None:
    await workers(live, "w1", "w2")
    await create(live, pin("w2"), override_id="p")
    await create(live, cap(1), override_id="c")
    asked = admin.ExplainAssignRequest(task=task("x", task_type="t"), include_rejected=True)
    told = await stub(live).ExplainAssign(asked, timeout=DEADLINE_S)
    assert told.decision.source == decision_pb2.DECISION_SOURCE_OVERRIDE
    assert [(each.override_id, each.effect) for each in told.overrides] == [
        ("p", "only on w2"), ("c", "at most 1 at once"),
    ]  # fmt: skip
    rejected = [each for each in told.decision.explanation.candidates if each.worker_id == "w1"]
    assert rejected[0].rejection == decision_pb2.REJECTION_REASON_OVERRIDE
    assert "override p: only on w2" in told.text
    ranked = await stub(live).RankWorkers(admin.RankWorkersRequest(task=task("x", task_type="t")), timeout=DEADLINE_S)
    assert [each.worker_id for each in ranked.candidates] == ["w2"]
    assert [(each.reason, each.count) for each in ranked.rejections] == [(decision_pb2.REJECTION_REASON_OVERRIDE, 1)]


async def test_the_record_of_a_decision_says_which_overrides_had_a_part_also_after_a_restart(tmp_path: Path) -> None:
    asked = admin.GetDecisionRequest(task=task_pb2.TaskKey(task_id="t1"))
    parts = [("p", "only on w1"), ("c", "at most 1 at once")]
    async with running(kept_in(tmp_path)) as server:
        await workers(server, "w1", "w2")
        await create(server, cap(1), override_id="c")
        await create(server, pin("w1"), override_id="p")
        await server.assign("t1", task_type="t")
        await server.assign("t2", task_type="u")
        told = await stub(server).GetDecision(asked, timeout=DEADLINE_S)
        assert [(each.override_id, each.effect) for each in told.record.overrides] == parts
        listed_by = admin.ListDecisionsRequest(override_id="p")
        found = await stub(server).ListDecisions(listed_by, timeout=DEADLINE_S)
        assert [each.decision.task.task_id for each in found.records] == ["t1"]
        assert [(each.override_id, each.effect) for each in found.records[0].overrides] == parts
    async with running(kept_in(tmp_path)) as server:
        told = await stub(server).GetDecision(asked, timeout=DEADLINE_S)
        assert [(each.override_id, each.effect) for each in told.record.overrides] == parts


# ---------------------------------------------------------------------- one sequence of revisions, and kept


async def test_configuration_and_overrides_share_one_sequence_of_revisions(live: Running) -> None:
    await workers(live, "w1", "w2")
    first = (await stub(live).GetConfig(admin.GetConfigRequest(names=["scorer"]), timeout=DEADLINE_S)).revision
    made = await create(live, pin("w1"))
    assert made.policy_revision == max(1, first) + 1
    update = admin.UpdateConfigRequest()
    update.values["scorer.wait_weight"].number_value = 0.7
    changed = await stub(live).UpdateConfig(update, timeout=DEADLINE_S)
    assert changed.revision == made.policy_revision + 1
    assert (await delete(live, made.override.override_id)).policy_revision == changed.revision + 1


async def test_overrides_are_kept_over_a_restart_with_their_counts_and_revisions(tmp_path: Path) -> None:
    async with running(kept_in(tmp_path)) as server:
        await workers(server, "w1", "w2")
        await create(server, pin("w1"), override_id="p", reason="why", expires_at={"seconds": int(WALL_S) + 900})
        await create(server, cap(1), override_id="c")
        await create(server, exclude("w1"), override_id="e", scope=admin.OverrideScope(task_type="u"))
        await create(server, cap(9), override_id="short", expires_at={"seconds": int(WALL_S) + 3})
        await delete(server, "e")
        await server.assign("t1", task_type="t")
        before = await listed(server, include_ended=True)
        revision = server.core.placement.policy_revision
        assert {each.override_id: each.applied_count for each in before} == {"p": 1, "c": 1, "e": 0, "short": 1}
    clock = Clock()
    clock.wall += 10.0
    async with running(kept_in(tmp_path), clock=clock) as server:
        after = await listed(server, include_ended=True)
        still = [each for each in after if each.override_id != "short"]
        assert still == [each for each in before if each.override_id != "short"]
        assert next(each for each in after if each.override_id == "short").ended_at.seconds == int(WALL_S) + 3
        assert server.core.placement.policy_revision == revision + 1
        assert server.core.overrides.in_force["c"].running == 1  # a lease of the last run
        await workers(server, "w1", "w2")
        problem = await server.refuse("t2", task_type="t")
        assert problem.metadata["override_id"] == "c"


async def test_a_change_that_cannot_be_written_down_is_refused_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise SnapshotError("no space left")

    async with running(kept_in(tmp_path)) as server:
        await workers(server, "w1", "w2")
        await create(server, cap(3), override_id="c")
        with monkeypatch.context() as broken:
            broken.setattr(server.app.overriding._store, "write", full)
            for call in (create(server, pin("w1")), delete(server, "c")):
                problem: Problem = await refused(call)
                assert (problem.code, problem.reason) == ("UNAVAILABLE", "STORE_UNAVAILABLE")
        assert [each.override_id for each in await listed(server)] == ["c"]
        assert server.core.placement.policy_revision == 2


async def test_a_file_that_makes_no_sense_is_set_aside_and_told(tmp_path: Path) -> None:
    async with running(kept_in(tmp_path)) as server:
        await create(server, cap(3))
        server.app.overriding._store.write([b'{"x":1}', b"[]"], created_at=WALL_S)  # type: ignore[union-attr]
        server.core.overrides.in_force.clear()
        server.core.overrides.ended.clear()
    async with running(kept_in(tmp_path)) as server:
        assert await listed(server) == []
        assert any("none of them applies" in each for each in server.app.stores.journal_warnings)


async def test_a_server_that_goes_down_changes_no_override(live: Running) -> None:
    await create(live, cap(3), override_id="c")
    live.app.admin.drain()
    for call in (create(live, cap(2)), delete(live, "c")):
        assert (await refused(call)).reason == "SERVER_DRAINING"
