"""ExplainAssign and RankWorkers: what would be answered, and why, on the wire."""

import asyncio
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from scheduler_api.v1 import admin_service_pb2 as admin
from scheduler_api.v1 import admin_service_pb2_grpc, decision_pb2, task_pb2, worker_pb2
from scheduler_api.v1 import schedule_service_pb2 as api
from tests.contract.server import DEADLINE_S, WALL_S, Problem, Running, refused, span, task

ONE = worker_pb2.WorkerRegistration(max_concurrent_tasks=1, reports_outcomes=True)


def stub_of(live: Running) -> Any:
    return admin_service_pb2_grpc.AdminServiceStub(live.channel)


async def explain(live: Running, **fields: Any) -> admin.ExplainAssignResponse:
    fields.setdefault("task", task("t"))
    request = admin.ExplainAssignRequest(**fields)
    answer: admin.ExplainAssignResponse = await stub_of(live).ExplainAssign(request, timeout=DEADLINE_S)
    return answer


async def rank(live: Running, **fields: Any) -> admin.RankWorkersResponse:
    answer: admin.RankWorkersResponse = await stub_of(live).RankWorkers(
        admin.RankWorkersRequest(**fields), timeout=DEADLINE_S
    )
    return answer


async def problem(live: Running, method: str, request: Any) -> Problem:
    return await refused(getattr(stub_of(live), method)(request))


def reason(value: int) -> str:
    return decision_pb2.RejectionReason.Name(value).removeprefix("REJECTION_REASON_")  # type: ignore[arg-type] # a number


async def loaded(live: Running, worker_id: str, cpu: float, **registration: Any) -> Any:
    registration.setdefault("max_concurrent_tasks", 2)
    return await live.worker(
        worker_id, cpu_usage=cpu, memory_usage=cpu, registration=worker_pb2.WorkerRegistration(**registration)
    )


# ---------------------------------------------------------------------- ExplainAssign


async def test_a_dry_run_tells_what_assign_answers_right_after_it(live: Running) -> None:
    for number, cpu in enumerate((0.5, 0.1, 0.3)):
        await loaded(live, f"w{number}", cpu)
    told = (await explain(live)).decision
    made = (await live.assign("t", view=api.EXPLANATION_VIEW_FULL)).decision
    assert (told.decision_id, told.lease_id) == ("", "")
    for name in ("decision_id", "lease_id"):
        made.ClearField(name)
    assert told == made
    assert [each.worker_id for each in told.explanation.candidates] == ["w1", "w2", "w0"]


async def test_a_dry_run_takes_no_slot_and_is_remembered_by_nobody(live: Running) -> None:
    await live.worker(registration=ONE)
    for _ in range(3):
        assert (await explain(live)).decision.worker_id == "w"
    status = await stub_of(live).GetStatus(admin.GetStatusRequest())
    assert not status.decisions
    assert not status.leases
    assert (await live.assign("t")).decision.decision_id.endswith("-1")


async def test_a_dry_run_needs_no_id(live: Running) -> None:
    await live.worker()
    told = await explain(live, task=task_pb2.Task(task_type="resize"))
    assert told.decision.worker_id == "w"
    assert told.decision.task.task_id == ""
    assert "(no id)" in told.text


async def test_a_dry_run_says_in_words_what_would_have_changed_the_answer(live: Running) -> None:
    await loaded(live, "idle", 0.1)
    await loaded(live, "busy", 0.5)
    told = await explain(live)
    assert "runner-up: busy with 0.700, margin 0.160" in told.text
    assert "had the load term of busy been 0.90" in told.text
    assert "had the load term of busy been 0.90" in told.decision.explanation.counterfactual


async def test_nobody_is_an_answer_with_its_reasons(live: Running) -> None:
    await live.worker("full", registration=ONE)
    await live.assign("first")
    await live.worker("other", registration=worker_pb2.WorkerRegistration(capabilities=["gpu"]))
    wanted = task("t", excluded_workers=["other"])
    told = await explain(live, task=wanted, include_rejected=True)
    assert told.WhichOneof("answer") == "refusal"
    assert told.refusal.blocking == task_pb2.BLOCKING_REASON_NO_FREE_SLOT
    assert {reason(each.reason): each.count for each in told.refusal.rejections} == {"NO_FREE_SLOT": 1, "EXCLUDED": 1}
    assert [(each.worker_id, reason(each.rejection)) for each in told.rejected] == [
        ("full", "NO_FREE_SLOT"),
        ("other", "EXCLUDED"),
    ]
    assert not told.rejected[0].HasField("score")
    assert "to nobody" in told.text
    same = await live.refuse("t", excluded_workers=["other"])
    assert same.refusal is not None
    assert same.refusal.rejections == told.refusal.rejections


async def test_what_nobody_has_is_named(live: Running) -> None:
    await live.worker()
    told = (await explain(live, task=task("t", required_capabilities=["gpu"]))).refusal
    assert told.blocking == task_pb2.BLOCKING_REASON_NO_WORKER_COULD_EVER
    assert list(told.missing_capabilities) == ["gpu"]


async def test_a_task_that_is_too_early_or_too_late_is_refused_as_by_assign(live: Running) -> None:
    await live.worker()
    later, earlier = Timestamp(seconds=int(WALL_S) + 60), Timestamp(seconds=int(WALL_S) - 60)
    told = await explain(live, task=task("t", not_before=later))
    assert told.refusal.blocking == task_pb2.BLOCKING_REASON_NOT_YET_DUE
    told = await explain(live, task=task("t", start_by=earlier))
    assert told.WhichOneof("answer") == "refusal"
    assert "which is past" in told.text


async def test_rejected_workers_come_after_the_candidates_and_within_the_limit(live: Running) -> None:
    for number in range(3):
        await loaded(live, f"plain{number}", 0.1)
        await loaded(live, f"able{number}", 0.1 * number, capabilities=["gpu"])
    wanted = task("t", required_capabilities=["gpu"])
    told = (await explain(live, task=wanted, include_rejected=True, max_candidates=5)).decision.explanation
    assert [each.worker_id for each in told.candidates] == ["able0", "able1", "able2", "plain0", "plain1"]
    assert [reason(each.rejection) for each in told.candidates[3:]] == ["CAPABILITY", "CAPABILITY"]
    counted = (await explain(live, task=wanted, max_candidates=2)).decision.explanation
    assert [each.worker_id for each in counted.candidates] == ["able0", "able1"]
    assert counted.candidate_count == 3
    assert [(reason(each.reason), each.count) for each in counted.rejections] == [("CAPABILITY", 3)]


async def test_another_scorer_can_be_tried(live: Running) -> None:
    await loaded(live, "expert", 0.5, specializations=["bug"])
    await loaded(live, "idle", 0.1)
    wanted = task("t", category="bug")
    assert (await explain(live, task=wanted)).decision.worker_id == "idle"
    told = (await explain(live, task=wanted, scorer="specialist")).decision
    assert (told.worker_id, told.scorer) == ("expert", "specialist")
    assert {each.name for each in told.terms} == {"health", "specialization", "room"}
    assert told.explanation.margin == pytest.approx(0.3)
    assert (await explain(live, task=wanted, scorer="weighted")).decision.worker_id == "idle"


async def test_another_predictor_can_be_tried_and_knows_what_is_remembered(live: Running) -> None:
    await live.worker()
    for number in range(3):
        lease = (await live.assign(f"t{number}")).decision.lease_id
        await live.report(lease, duration=span(2))
    told = await explain(live, predictor="ema")
    assert told.decision.prediction.predictor == "ema"
    assert told.decision.prediction.point_ms == pytest.approx(2_000.0)
    assert told.decision.prediction.sample_count == 3
    assert "predictor ema is not in force: 3 outcomes are remembered of type resize" in told.text


async def test_a_label_that_no_task_has_asked_for_stays_one(live: Running) -> None:
    await live.worker("a", registration=worker_pb2.WorkerRegistration(labels={"zone": "a"}))
    await live.worker("b", registration=worker_pb2.WorkerRegistration(labels={"zone": "b"}))
    told = await explain(live, task=task("t", match_labels={"zone": "b"}))
    assert told.decision.worker_id == "b"
    assert [(reason(each.reason), each.count) for each in told.decision.explanation.rejections] == [("LABEL", 1)]
    assert not live.core.fleet.eligibility.label_keys


async def test_waiting_tasks_come_before_a_task_that_is_tried(live: Running) -> None:
    await live.worker(registration=ONE)
    lease = (await live.assign("first")).decision.lease_id
    call = live.stub.Assign(api.AssignRequest(task=task("second"), wait=span(60)))
    while not len(live.core.queue.waiting):  # noqa: ASYNC110 -- the server's own state
        await asyncio.sleep(0.001)
    await live.report(lease, duration=span(1))
    assert (await explain(live)).WhichOneof("answer") == "refusal"
    assert (await call).decision.worker_id == "w"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"task": None}, "task"),
        ({"task": task_pb2.Task(task_id="t")}, "task.task_type"),
        ({"task": task("t", priority=1.5)}, "task.priority"),
        ({"max_candidates": 1_001}, "max_candidates"),
        ({"delivery": 9}, "delivery"),
        ({"scorer": "a\x00b"}, "scorer"),
    ],
)
async def test_a_malformed_dry_run_is_refused_by_field(live: Running, fields: dict[str, Any], field: str) -> None:
    request = admin.ExplainAssignRequest(**{"task": task("t"), **fields})
    told = await problem(live, "ExplainAssign", request)
    assert told.code == "INVALID_ARGUMENT"
    assert told.fields == [field]


@pytest.mark.parametrize("most", [1, 1_000])
async def test_the_limits_of_candidates_are_inclusive(live: Running, most: int) -> None:
    await live.worker("a")
    await live.worker("b")
    told = (await explain(live, max_candidates=most)).decision.explanation
    assert len(told.candidates) == min(most, 2)


@pytest.mark.parametrize(
    ("fields", "name", "known"),
    [
        ({"scorer": "best"}, "SCORER_UNKNOWN", "weighted"),
        ({"predictor": "oracle"}, "PREDICTOR_UNKNOWN", "ema"),
    ],
)
async def test_a_strategy_that_nobody_knows_is_refused_with_those_that_there_are(
    live: Running, fields: dict[str, Any], name: str, known: str
) -> None:
    told = await problem(live, "ExplainAssign", admin.ExplainAssignRequest(task=task("t"), **fields))
    assert (told.code, told.reason) == ("INVALID_ARGUMENT", name)
    assert known in told.message


# ---------------------------------------------------------------------- RankWorkers


async def test_workers_are_ranked_as_they_would_be_chosen_without_a_task(live: Running) -> None:
    for number, cpu in enumerate((0.5, 0.1, 0.3)):
        await loaded(live, f"w{number}", cpu)
    told = await rank(live)
    assert [each.worker_id for each in told.candidates] == ["w1", "w2", "w0"]
    assert told.candidates[0].score > told.candidates[1].score > told.candidates[2].score
    assert (told.candidate_count, told.scorer, told.policy_revision) == (3, "weighted", 1)
    assert not told.HasField("prediction")


async def test_a_rank_for_a_task_tells_the_prediction_and_who_is_out(live: Running) -> None:
    await loaded(live, "able", 0.1, capabilities=["gpu"])
    await loaded(live, "plain", 0.0)
    wanted = task_pb2.Task(task_type="resize", required_capabilities=["gpu"])
    told = await rank(live, task=wanted, include_rejected=True)
    assert [(each.worker_id, reason(each.rejection) if each.rejection else "") for each in told.candidates] == [
        ("able", ""),
        ("plain", "CAPABILITY"),
    ]
    assert [(reason(each.reason), each.count) for each in told.rejections] == [("CAPABILITY", 1)]
    assert told.prediction.point_ms > 0


@pytest.mark.parametrize("limit", [1, 2, 1_000])
async def test_no_more_are_ranked_than_wanted(live: Running, limit: int) -> None:
    for number in range(3):
        await loaded(live, f"w{number}", 0.1 * number)
    told = await rank(live, limit=limit)
    assert len(told.candidates) == min(limit, 3)
    assert told.candidate_count == 3


@pytest.mark.parametrize("scorer", ["capability", "specialist", "earliest_finish", "weighted"])
async def test_a_rank_by_another_scorer_has_its_terms(live: Running, scorer: str) -> None:
    await loaded(live, "a", 0.1)
    await loaded(live, "b", 0.2)
    told = await rank(live, scorer=scorer)
    assert told.scorer == scorer
    assert len(told.candidates) == 2
    assert told.candidates[0].score == pytest.approx(sum(each.value * each.weight for each in told.candidates[0].terms))


async def test_only_workers_that_take_tasks_from_the_stream_are_ranked_for_it(live: Running) -> None:
    await live.sdk_worker("sdk")
    await live.worker("bare")
    told = await rank(live, delivery=task_pb2.DELIVERY_STREAM)
    assert [each.worker_id for each in told.candidates] == ["sdk"]
    assert [(reason(each.reason), each.count) for each in told.rejections] == [("NOT_ACCEPTING", 1)]


@pytest.mark.parametrize(
    ("fields", "field"),
    [({"limit": 1_001}, "limit"), ({"delivery": 9}, "delivery"), ({"task": task_pb2.Task()}, "task.task_type")],
)
async def test_a_malformed_rank_is_refused_by_field(live: Running, fields: dict[str, Any], field: str) -> None:
    told = await problem(live, "RankWorkers", admin.RankWorkersRequest(**fields))
    assert told.code == "INVALID_ARGUMENT"
    assert told.fields == [field]


async def test_a_rank_by_a_scorer_that_nobody_knows_is_refused(live: Running) -> None:
    told = await problem(live, "RankWorkers", admin.RankWorkersRequest(scorer="best"))
    assert told.reason == "SCORER_UNKNOWN"
