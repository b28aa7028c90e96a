"""What operators order: cordons, pauses, a forced fallback, circuits, priorities, forgetting; each code of each."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Value

from scheduler_api.v1 import admin_service_pb2 as admin
from scheduler_api.v1 import admin_service_pb2_grpc, decision_pb2, task_pb2, worker_pb2
from scheduler_api.v1 import schedule_service_pb2 as api
from scheduler_server.model.standing import OrderKind
from scheduler_server.rpc.server import ServerSettings
from scheduler_server.settings import Settings, StorageSettings
from tests.contract.server import DEADLINE_S, WALL_S, Problem, Running, refused, running, span, task

ONE = worker_pb2.WorkerRegistration(max_concurrent_tasks=1, reports_outcomes=True)
LONGEST = "x" * 4_096


async def ask(live: Running, method: str, **fields: Any) -> Any:
    stub = admin_service_pb2_grpc.AdminServiceStub(live.channel)
    request = getattr(admin, f"{method}Request")(**fields)
    return await getattr(stub, method)(request, timeout=DEADLINE_S)


async def problem(live: Running, method: str, **fields: Any) -> Problem:
    return await refused(ask(live, method, **fields))


async def enqueue(live: Running, task_id: str, **fields: Any) -> api.AssignResponse:
    request = api.AssignRequest(task=task(task_id, **fields), enqueue=api.Enqueue())
    answer: api.AssignResponse = await live.stub.Assign(request, timeout=DEADLINE_S)
    return answer


async def waiting(live: Running, task_id: str) -> admin.WaitingTask:
    listed: admin.ListWaitingResponse = await ask(live, "ListWaiting")
    return next(each for each in listed.tasks if each.task.task_id == task_id)


def kept_in(folder: Path) -> Settings:
    return Settings(storage=StorageSettings(state_folder=str(folder)), server=ServerSettings(listen="127.0.0.1:0"))


def key(task_id: str, **fields: Any) -> task_pb2.TaskKey:
    return task_pb2.TaskKey(task_id=task_id, **fields)


# ---------------------------------------------------------------------- cordons


async def test_a_cordoned_worker_is_no_candidate_and_keeps_what_it_has(live: Running) -> None:
    await live.worker("w1", registration=worker_pb2.WorkerRegistration(max_concurrent_tasks=2, reports_outcomes=True))
    await live.assign("runs")
    told = (await ask(live, "CordonWorker", worker_id="w1", reason="a new disk")).worker
    assert (told.cordoned, told.cordon_reason, told.running_leases) == (True, "a new disk", 1)
    assert told.rejection == decision_pb2.REJECTION_REASON_CORDONED
    refusal = await refused(live.assign("next"))
    assert refusal.rejections() == {"REJECTION_REASON_CORDONED": 1}
    assert (await ask(live, "GetStatus")).workers.cordoned == 1


async def test_a_cordon_outlives_a_reconnect_and_a_removal(live: Running) -> None:
    stream = await live.worker("w1", registration=ONE)
    await ask(live, "CordonWorker", worker_id="w1")
    await stream.lose()
    await live.worker("w1", registration=ONE)
    assert live.record("w1").cordoned
    await ask(live, "RemoveWorker", worker_id="w1")
    await live.worker("w1", registration=ONE)
    assert live.record("w1").cordoned
    assert (await refused(live.assign("t"))).rejections() == {"REJECTION_REASON_CORDONED": 1}


async def test_uncordoning_starts_what_waits(live: Running) -> None:
    await live.worker("w1", registration=ONE)
    await ask(live, "CordonWorker", worker_id="w1")
    assert (await enqueue(live, "t")).HasField("waiting")
    told = (await ask(live, "UncordonWorker", worker_id="w1")).worker
    assert not told.cordoned
    assert not told.cordon_reason
    assert live.core.task("", "t", 1) is not None


async def test_a_cordon_can_be_lifted_of_a_worker_that_is_not_there(live: Running) -> None:
    await live.worker("w1", registration=ONE)
    await ask(live, "CordonWorker", worker_id="w1")
    await ask(live, "RemoveWorker", worker_id="w1")
    assert not (await ask(live, "UncordonWorker", worker_id="w1")).HasField("worker")
    told = await problem(live, "UncordonWorker", worker_id="w1")
    assert (told.code, told.reason) == ("NOT_FOUND", "WORKER_UNKNOWN")


async def test_cordoning_twice_changes_nothing(live: Running) -> None:
    await live.worker("w1", registration=ONE)
    await ask(live, "CordonWorker", worker_id="w1", reason="first")
    events = live.core.events
    assert (await ask(live, "CordonWorker", worker_id="w1", reason="second")).worker.cordon_reason == "first"
    assert live.core.events == events


@pytest.mark.parametrize("method", ["CordonWorker", "UncordonWorker"])
async def test_an_unknown_worker_is_told_with_those_that_are_near(live: Running, method: str) -> None:
    await live.worker("gpu-17", registration=ONE)
    told = await problem(live, method, worker_id="gpu-18")
    assert (told.code, told.reason, told.metadata["similar"]) == ("NOT_FOUND", "WORKER_UNKNOWN", "gpu-17")
    assert (await problem(live, method)).fields == ["worker_id"]


# ---------------------------------------------------------------------- pauses


async def test_what_waits_and_what_comes_of_a_paused_scope_waits_though_slots_are_free(live: Running) -> None:
    await live.worker("w1", registration=ONE)
    pause = (await ask(live, "PauseQueue", scope=admin.QueueScope(task_type="resize"), reason="bad input")).pause
    assert (pause.scope.task_type, pause.scope.HasField("tenant"), pause.reason) == ("resize", False, "bad input")
    assert (pause.author, pause.waiting_tasks, pause.HasField("expires_at")) == ("anonymous", 0, False)
    assert (await enqueue(live, "t")).waiting.blocking == task_pb2.BLOCKING_REASON_PAUSED
    line = await waiting(live, "t")
    assert line.waiting.blocking == task_pb2.BLOCKING_REASON_PAUSED
    assert not line.waiting.HasField("expected_start_p50")
    listed = await ask(live, "ListWaiting", blocking=[task_pb2.BLOCKING_REASON_PAUSED])
    assert listed.total_size == 1
    why = await ask(live, "ExplainWaiting", task=key("t"))
    assert [(each.scope.task_type, each.waiting_tasks) for each in why.pauses] == [("resize", 1)]
    assert "paused" in why.text
    got = await live.stub.GetTask(api.GetTaskRequest(task=key("t")), timeout=DEADLINE_S)
    assert got.task.waiting.blocking == task_pb2.BLOCKING_REASON_PAUSED
    assert (await enqueue(live, "other", task_type="encode")).HasField("decision")


async def test_resuming_starts_what_waited(live: Running) -> None:
    await live.worker("w1", registration=ONE)
    await ask(live, "PauseQueue")
    await enqueue(live, "t1")
    await enqueue(live, "t2")
    assert (await ask(live, "ResumeQueue")).released_tasks == 2
    assert live.core.task("", "t1", 1) is not None
    assert (await waiting(live, "t2")).waiting.blocking == task_pb2.BLOCKING_REASON_NO_FREE_SLOT


async def test_a_task_under_another_pause_goes_on_waiting(live: Running) -> None:
    await live.worker("w1", registration=ONE)
    await ask(live, "PauseQueue")
    await ask(live, "PauseQueue", scope=admin.QueueScope(tenant="", task_type="resize"))
    await enqueue(live, "t")
    await ask(live, "ResumeQueue")
    assert (await waiting(live, "t")).waiting.blocking == task_pb2.BLOCKING_REASON_PAUSED
    assert len((await ask(live, "ExplainWaiting", task=key("t"))).pauses) == 1


async def test_a_tenants_pause_is_not_that_of_the_nameless_one(live: Running) -> None:
    await live.worker("w1", registration=ONE)
    await ask(live, "PauseQueue", scope=admin.QueueScope(tenant=""))
    await enqueue(live, "named", tenant="a")
    assert live.core.task("a", "named", 1) is not None
    assert (await enqueue(live, "nameless")).waiting.blocking == task_pb2.BLOCKING_REASON_PAUSED


async def test_a_call_that_does_not_wait_is_no_matter_of_the_queue(live: Running) -> None:
    await live.worker("w1", registration=ONE)
    await ask(live, "PauseQueue")
    assert (await live.assign("t")).HasField("decision")


async def test_a_pause_ends_by_itself_and_not_before(live: Running) -> None:
    await live.worker("w1", registration=ONE)
    await ask(live, "PauseQueue", expires_after=span(1.5))
    await enqueue(live, "t")
    live.forward(1.4)
    assert live.core.task("", "t", 1) is None
    live.forward(0.2)
    assert live.core.task("", "t", 1) is not None
    assert not (await ask(live, "ListPauses")).pauses


async def test_pauses_are_listed_newest_first_and_paged(live: Running) -> None:
    for name in ("a", "b", "c"):
        live.forward(1.0)
        await ask(live, "PauseQueue", scope=admin.QueueScope(task_type=name), expires_after=span(60.0))
    first = await ask(live, "ListPauses", page_size=2)
    second = await ask(live, "ListPauses", page_size=2, page_token=first.next_page_token)
    assert [each.scope.task_type for page in (first, second) for each in page.pauses] == ["c", "b", "a"]
    assert not second.next_page_token
    assert second.pauses[0].since.ToSeconds() == int(WALL_S) + 1
    assert second.pauses[0].expires_at.ToSeconds() == int(WALL_S) + 61
    assert (await problem(live, "ListPauses", page_token="nonsense")).reason == "PAGE_TOKEN_INVALID"


async def test_a_pause_replaces_the_one_of_its_scope(live: Running) -> None:
    await ask(live, "PauseQueue", reason="first", expires_after=span(5.0))
    await ask(live, "PauseQueue", reason="second")
    listed = (await ask(live, "ListPauses")).pauses
    assert [(each.reason, each.HasField("expires_at")) for each in listed] == [("second", False)]


async def test_what_is_not_paused_cannot_be_resumed(live: Running) -> None:
    await ask(live, "PauseQueue", scope=admin.QueueScope(task_type="resize"))
    told = await problem(live, "ResumeQueue")
    assert (told.code, told.reason) == ("NOT_FOUND", "PAUSE_UNKNOWN")
    assert "'resize'" in told.message


# ---------------------------------------------------------------------- fallback and circuits


def how(answer: Any) -> tuple[str, str]:
    decision = answer.decision
    source = decision_pb2.DecisionSource.Name(decision.source).removeprefix("DECISION_SOURCE_")
    return source, decision_pb2.DecisionCause.Name(decision.cause).removeprefix("DECISION_CAUSE_")


async def test_a_forced_fallback_decides_until_it_is_called_off(live: Running) -> None:
    await live.worker("w1")
    policy = (await ask(live, "ForceFallback", forced=True, reason="odd scores")).policy
    assert (policy.forced_fallback.reason, policy.forced_fallback.author) == ("odd scores", "anonymous")
    assert how(await live.assign("t1")) == ("FALLBACK", "FORCED_FALLBACK")
    assert "fallback" in [part.name for part in (await ask(live, "GetStatus")).degraded]
    policy = (await ask(live, "ForceFallback")).policy
    assert not policy.HasField("forced_fallback")
    assert how(await live.assign("t2"))[0] == "PREDICTED"


async def test_a_fallback_forced_for_a_type_is_for_that_type_and_ends_by_itself(live: Running) -> None:
    await live.worker("w1")
    policy = (await ask(live, "ForceFallback", forced=True, task_type="resize", expires_after=span(2.0))).policy
    assert [each.task_type for each in policy.forced_types] == ["resize"]
    assert how(await live.assign("t1", task_type="resize")) == ("FALLBACK", "FORCED_FALLBACK")
    assert how(await live.assign("t2", task_type="encode"))[0] == "PREDICTED"
    live.forward(2.0)
    assert how(await live.assign("t3", task_type="resize"))[0] == "PREDICTED"
    assert not (await ask(live, "GetStatus")).policy.forced_types


async def test_a_tripped_breaker_makes_no_trial_until_it_is_reset(live: Running) -> None:
    await live.worker("w1")
    told = (await ask(live, "TripBreaker", reason="it is wrong")).breaker
    assert (told.state, told.tripped) == (admin.BREAKER_STATE_OPEN, True)
    assert not told.HasField("next_trial_at")
    assert not told.HasField("trip_expires_at")
    live.forward(20.0)
    assert how(await live.assign("t1")) == ("FALLBACK", "BREAKER_OPEN")
    reset = await ask(live, "ResetBreaker")
    assert (reset.closed, reset.breaker.state) == (1, admin.BREAKER_STATE_CLOSED)
    assert how(await live.assign("t2"))[0] == "PREDICTED"
    assert (await ask(live, "ResetBreaker")).closed == 0


async def test_a_trip_of_a_type_ends_by_itself(live: Running) -> None:
    await live.worker("w1")
    told = (await ask(live, "TripBreaker", task_type="resize", expires_after=span(2.0))).breaker
    assert (told.task_type, told.trip_expires_at.ToSeconds()) == ("resize", int(WALL_S) + 2)
    assert how(await live.assign("t1", task_type="resize")) == ("FALLBACK", "TYPE_BREAKER_OPEN")
    live.forward(2.0)
    assert how(await live.assign("t2", task_type="resize"))[0] == "PREDICTED"


async def test_all_types_are_reset_at_once_and_the_one_for_all_alone_otherwise(live: Running) -> None:
    for name in ("", "a", "b"):
        await ask(live, "TripBreaker", task_type=name)
    assert (await ask(live, "ResetBreaker")).closed == 1
    assert (await ask(live, "GetStatus")).open_type_breakers == 2
    assert (await ask(live, "ResetBreaker", all_types=True)).closed == 2
    assert (await ask(live, "GetStatus")).open_type_breakers == 0


# ---------------------------------------------------------------------- priorities


async def test_a_task_with_another_priority_has_another_place(live: Running) -> None:
    await live.worker("w1", registration=ONE)
    await live.assign("runs")
    for name in ("a", "b"):
        live.forward(1.0)
        await enqueue(live, name, priority=0.5)
    changed = await ask(live, "ReprioritizeTask", task=key("b"), priority=1.0, reason="now")
    assert (changed.task.priority, changed.previous_position, changed.task.waiting.position) == (1.0, 1, 0)
    assert [each.task.task_id for each in (await ask(live, "ListWaiting")).tasks] == ["b", "a"]


async def test_a_request_repeated_as_it_was_first_sent_is_the_same_one_whatever_an_operator_made_of_its_priority(
    live: Running,
) -> None:
    await live.worker("w1", registration=ONE)
    await live.assign("runs")
    await enqueue(live, "a", priority=0.5)
    for priority in (1.0, 0.25):
        await ask(live, "ReprioritizeTask", task=key("a"), priority=priority)
        assert (await enqueue(live, "a", priority=0.5)).state == task_pb2.TASK_STATE_WAITING
        assert (await waiting(live, "a")).priority == priority
    assert (await refused(enqueue(live, "a", priority=0.25))).reason == "TASK_CONFLICT"


async def test_only_what_waits_has_a_priority_to_change(live: Running) -> None:
    await live.worker("w1", registration=ONE)
    await live.assign("runs")
    told = await problem(live, "ReprioritizeTask", task=key("runs"), priority=0.5)
    assert (told.code, told.reason) == ("FAILED_PRECONDITION", "TASK_NOT_WAITING")
    told = await problem(live, "ReprioritizeTask", task=key("never"), priority=0.5)
    assert (told.code, told.reason) == ("NOT_FOUND", "TASK_UNKNOWN")
    assert (await problem(live, "ReprioritizeTask", task=key("runs"))).fields == ["priority"]
    for priority in (-0.01, 1.01):
        assert (await problem(live, "ReprioritizeTask", task=key("runs"), priority=priority)).fields == ["priority"]


async def test_as_many_orders_stand_as_the_limit_allows_and_no_more(live: Running) -> None:
    await live.worker("w1", registration=ONE)
    await live.worker("w2", registration=ONE)
    await ask(live, "UpdateConfig", values={"limits.standing_orders": Value(number_value=2)})
    await ask(live, "CordonWorker", worker_id="w1")
    await ask(live, "PauseQueue")
    for method, fields in (
        ("CordonWorker", {"worker_id": "w2"}),
        ("PauseQueue", {"scope": admin.QueueScope(task_type="x")}),
        ("ForceFallback", {"forced": True}),
        ("TripBreaker", {"task_type": "x"}),
    ):
        told = await problem(live, method, **fields)
        assert (told.code, told.reason) == ("RESOURCE_EXHAUSTED", "TOO_MANY_ORDERS")
        assert told.metadata["limit"] == "limits.standing_orders"
    await ask(live, "PauseQueue", reason="in place of the one that stands")
    await ask(live, "UncordonWorker", worker_id="w1")
    await ask(live, "CordonWorker", worker_id="w2")
    assert live.app.core.standing.counts[OrderKind.CORDON] == 1


# ---------------------------------------------------------------------- predictions


async def learned(live: Running) -> None:
    await live.worker("w1", registration=worker_pb2.WorkerRegistration(max_concurrent_tasks=9, reports_outcomes=True))
    for number, name in enumerate(("encode", "resize", "resize")):
        lease = (await live.assign(f"t{number}", task_type=name)).decision.lease_id
        outcome = task_pb2.Outcome(status=task_pb2.OUTCOME_STATUS_SUCCEEDED, duration=span(2.0))
        report = api.OutcomeReport(lease_id=lease, outcome=outcome)
        await live.stub.ReportOutcome(api.ReportOutcomeRequest(reports=[report]), timeout=DEADLINE_S)


async def test_what_was_learned_is_listed_sorted_filtered_and_paged(live: Running) -> None:
    await learned(live)
    listed = await ask(live, "ListPredictions", task_type="resize")
    assert listed.total_size >= 1
    assert {each.task_type for each in listed.predictions} == {"resize"}
    assert max(each.prediction.sample_count for each in listed.predictions) == 2
    everything = await ask(live, "ListPredictions", order_by="sample_count desc")
    counts = [each.prediction.sample_count for each in everything.predictions]
    assert counts == sorted(counts, reverse=True)
    keys, token = [], ""
    while True:
        page = await ask(live, "ListPredictions", page_size=1, page_token=token)
        keys += [each.prediction.key for each in page.predictions]
        token = page.next_page_token
        if not token:
            break
    assert keys == sorted(each.prediction.key for each in everything.predictions)
    assert not (await ask(live, "ListPredictions", min_samples=100)).predictions
    assert (await ask(live, "ListPredictions", key_contains="RESIZE")).predictions
    assert (await problem(live, "ListPredictions", order_by="colour")).fields == ["order_by"]


async def test_a_prediction_tells_when_it_last_learned_and_when_its_durations_changed(live: Running) -> None:
    nine = worker_pb2.WorkerRegistration(max_concurrent_tasks=9, reports_outcomes=True)
    stream = await live.worker("w1", registration=nine)
    at = []
    for number in range(40):
        live.forward(60.0)
        at.append(live.clock.wall)
        await stream.beat()
        lease = (await live.assign(f"t{number}", task_type="encode")).decision.lease_id
        outcome = task_pb2.Outcome(
            status=task_pb2.OUTCOME_STATUS_SUCCEEDED, duration=span(2.0 if number < 36 else 90.0)
        )
        report = api.OutcomeReport(lease_id=lease, outcome=outcome)
        await live.stub.ReportOutcome(api.ReportOutcomeRequest(reports=[report]), timeout=DEADLINE_S)
    found = (await ask(live, "ListPredictions", task_type="encode", order_by="updated_at desc")).predictions[0]
    assert found.updated_at.ToNanoseconds() / 1e9 == pytest.approx(at[-1], abs=1.0)
    assert found.drift_count == 1
    assert at[36] <= found.last_drift_at.ToNanoseconds() / 1e9 <= at[-1] + 1.0


async def test_what_cannot_be_forgotten_on_disk_is_told(tmp_path: Path) -> None:
    async with running(kept_in(tmp_path)) as live:
        await learned(live)
        (tmp_path / "snapshot.tmp").mkdir()
        answer = await ask(live, "ForgetPredictions", task_type="resize")
        assert answer.forgotten_keys >= 1
        assert ["a restart before the next snapshot" in each for each in answer.warnings] == [True]
        assert [part.name for part in (await ask(live, "GetStatus")).degraded] == ["store.snapshot"]
        (tmp_path / "snapshot.tmp").rmdir()
        assert not (await ask(live, "ForgetPredictions", all=True)).warnings


async def test_a_type_a_key_and_everything_is_forgotten(live: Running) -> None:
    await learned(live)
    name = (await ask(live, "ListPredictions", task_type="encode")).predictions[0].prediction.key
    assert (await ask(live, "ForgetPredictions", key=name)).forgotten_keys == 1
    assert not (await ask(live, "ListPredictions", task_type="encode")).predictions
    assert (await ask(live, "ForgetPredictions", task_type="resize")).forgotten_keys >= 1
    await ask(live, "ForgetPredictions", all=True)
    assert (await ask(live, "ListPredictions")).total_size == 0


async def test_what_is_to_be_forgotten_has_to_be_named_and_known(live: Running) -> None:
    await learned(live)
    assert (await problem(live, "ForgetPredictions")).fields == ["target"]
    assert (await problem(live, "ForgetPredictions", all=False)).fields == ["all"]
    told = await problem(live, "ForgetPredictions", task_type="resise")
    assert (told.code, told.reason, told.metadata["similar"]) == ("NOT_FOUND", "PREDICTION_UNKNOWN", "resize")
    assert (await problem(live, "ForgetPredictions", key="no such")).reason == "PREDICTION_UNKNOWN"


# ---------------------------------------------------------------------- all of them

ORDERS: dict[str, dict[str, Any]] = {
    "CordonWorker": {"worker_id": "w1"},
    "UncordonWorker": {"worker_id": "w1"},
    "ForceFallback": {"forced": True},
    "TripBreaker": {},
    "ResetBreaker": {},
    "PauseQueue": {},
    "ResumeQueue": {},
    "ReprioritizeTask": {"task": key("t"), "priority": 0.5},
    "ForgetPredictions": {"all": True},
}


@pytest.mark.parametrize("method", ORDERS)
async def test_a_reason_has_at_most_4096_characters(live: Running, method: str) -> None:
    await live.worker("w1", registration=ONE)
    await ask(live, "PauseQueue")
    await enqueue(live, "t")
    await ask(live, method, **ORDERS[method], reason=LONGEST)
    assert (await problem(live, method, **ORDERS[method], reason=LONGEST + "x")).fields == ["reason"]


@pytest.mark.parametrize("method", ["ForceFallback", "TripBreaker", "PauseQueue"])
async def test_an_end_is_above_0_and_within_a_year(live: Running, method: str) -> None:
    for wrong in (0.0, -1.0, 31_536_001.0):
        assert (await problem(live, method, **ORDERS[method], expires_after=span(wrong))).fields == ["expires_after"]
    await ask(live, method, **ORDERS[method], expires_after=span(0.001))


async def test_contradictions_are_refused(live: Running) -> None:
    assert (await problem(live, "ForceFallback", expires_after=span(1.0))).fields == ["expires_after"]
    assert (await problem(live, "ResetBreaker", task_type="a", all_types=True)).fields == ["all_types"]
    scope = admin.QueueScope(tenant="x" * 300, task_type="x" * 300)
    assert (await problem(live, "PauseQueue", scope=scope)).fields == ["scope.task_type", "scope.tenant"]


async def test_a_server_that_goes_down_takes_no_orders(live: Running) -> None:
    await live.worker("w1", registration=ONE)
    live.app.admin.draining = True
    for method, fields in ORDERS.items():
        told = await problem(live, method, **fields)
        assert (told.code, told.reason) == ("UNAVAILABLE", "SERVER_DRAINING"), method


async def test_orders_at_once_about_the_same_all_answer(live: Running) -> None:
    await live.worker("w1", registration=ONE)
    await asyncio.gather(*(ask(live, method, worker_id="w1") for method in ("CordonWorker", "UncordonWorker") * 5))
    await ask(live, "UncordonWorker", worker_id="w1")
    assert not live.record("w1").cordoned
