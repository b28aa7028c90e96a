"""What Assign promises: the answer, its idempotence, and each way it refuses."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from scheduler_api.v1 import decision_pb2, task_pb2, worker_pb2
from scheduler_api.v1 import schedule_service_pb2 as api
from scheduler_server.app import make_core
from scheduler_server.model.clock import Now
from scheduler_server.model.prediction import Prediction
from scheduler_server.model.task import Task
from scheduler_server.model.worker import WorkerView
from scheduler_server.predictor.ema import EmaPredictor
from scheduler_server.rpc.errors import DOMAIN
from scheduler_server.scorer.weighted import WeightedScorer
from tests.contract.server import WALL_S, Running, digest, fields_of, refused, running, settings, span, task

STREAM = task_pb2.DELIVERY_STREAM
Registration = worker_pb2.WorkerRegistration


def instant(seconds: float) -> Timestamp:
    made = Timestamp()
    made.FromMilliseconds(round(seconds * 1_000))
    return made


# ---------------------------------------------------------------------- the answer


async def test_the_answer_names_worker_lease_times_score_and_reasons(live: Running) -> None:
    await live.worker("a", cpu_usage=0.5, memory_usage=0.5)
    await live.worker("b", cpu_usage=0.25, memory_usage=0.25)
    answer = await live.assign("t", tenant="acme", priority=1.0)
    assert task_pb2.TaskState.Name(answer.state) == "TASK_STATE_PLACED"
    assert not answer.replayed
    made = answer.decision
    assert (made.task.tenant, made.task.task_id, made.task.attempt) == ("acme", "t", 1)
    assert made.worker_id == "b"
    assert made.decision_id
    assert made.lease_id
    assert (made.predicted_wait_ms, made.predicted_duration_ms) == (0.0, 5_000.0)
    assert {each.name: (each.value, each.weight) for each in made.terms} == {
        "wait": (1.0, 0.4),
        "load": (0.75, 0.4),
        "priority": (1.0, 0.2),
    }
    assert made.score == pytest.approx(0.4 + 0.4 * 0.75 + 0.2)
    assert made.score == pytest.approx(sum(each.value * each.weight for each in made.terms))
    assert made.source == decision_pb2.DECISION_SOURCE_PREDICTED
    assert made.cause == decision_pb2.DECISION_CAUSE_BEST_SCORE
    assert (made.scorer, made.policy_revision) == ("weighted", 1)
    assert made.server_incarnation == live.core.incarnation
    assert made.decided_at.ToMilliseconds() == int(WALL_S * 1_000)
    assert made.reasoning.startswith("b: best of 2 by weighted 0.900 = ")
    assert (made.prediction.point_ms, made.prediction.sample_count) == (5_000.0, 0)
    assert (made.prediction.confidence, made.prediction.predictor) == (0.0, "adaptive")
    assert not made.HasField("explanation")


async def test_the_only_candidate_is_said_to_be_that(live: Running) -> None:
    await live.worker()
    made = (await live.assign()).decision
    assert made.cause == decision_pb2.DECISION_CAUSE_ONLY_CANDIDATE


@pytest.mark.parametrize("view", [api.EXPLANATION_VIEW_UNSPECIFIED, api.EXPLANATION_VIEW_BASIC])
async def test_the_explanation_is_only_for_who_asks(live: Running, view: int) -> None:
    await live.worker()
    assert not (await live.assign(view=view)).decision.HasField("explanation")


async def test_an_explanation_tells_candidates_best_first_and_counts_the_rest(live: Running) -> None:
    for worker_id, load in (("slow", 0.6), ("best", 0.1), ("next", 0.2)):
        await live.worker(worker_id, cpu_usage=load, memory_usage=load)
    await live.worker("full", queue_depth=5)
    await live.worker("lost")
    told = (await live.assign(view=api.EXPLANATION_VIEW_FULL, excluded_workers=["lost"])).decision.explanation
    assert [each.worker_id for each in told.candidates] == ["best", "next", "slow"]
    assert told.candidate_count == 3
    names = decision_pb2.RejectionReason
    assert {names.Name(each.reason): each.count for each in told.rejections} == {
        "REJECTION_REASON_EXCLUDED": 1,
        "REJECTION_REASON_NO_FREE_SLOT": 1,
    }
    assert told.margin == pytest.approx(0.4 * 0.1)
    first = told.candidates[0]
    assert (first.free_slots, first.speed) == (5, 1.0)
    assert first.load == pytest.approx(0.1)
    assert first.predicted_duration_ms == 5_000.0


async def test_what_was_reported_changes_the_next_prediction(live: Running) -> None:
    await live.worker()
    first = (await live.assign("a")).decision
    await live.report(first.lease_id, duration=span(1.0))
    second = (await live.assign("b")).decision
    assert second.prediction.sample_count == 1
    assert second.predicted_duration_ms < first.predicted_duration_ms


async def test_decision_and_lease_ids_are_never_used_twice(live: Running) -> None:
    await live.worker(registration=Registration(max_concurrent_tasks=100, reports_outcomes=True))
    made = [(await live.assign(f"t{number}")).decision for number in range(100)]
    assert len({each.decision_id for each in made}) == 100
    assert len({each.lease_id for each in made}) == 100


# ---------------------------------------------------------------------- idempotence


async def test_asked_again_while_the_lease_lives_it_gives_the_same_decision(live: Running) -> None:
    await live.worker()
    first = await live.assign()
    before = digest(live)
    again = await live.assign()
    assert again.replayed
    assert (again.state, again.decision) == (first.state, first.decision)
    assert digest(live) == before


async def test_equal_bodies_are_equal_however_they_are_written(live: Running) -> None:
    await live.worker(registration=Registration(capabilities=["a", "b"], labels={"x": "1", "y": "2"}))
    first = await live.assign(required_capabilities=["a", "b"], match_labels={"x": "1", "y": "2"})
    again = await live.assign(
        required_capabilities=["b", "a", "b"], match_labels={"y": "2", "x": "1"}, attempt=1, priority=0.5, slots=1
    )
    assert again.decision == first.decision


async def test_asked_again_after_the_end_it_gives_the_outcome(live: Running) -> None:
    await live.worker()
    lease = (await live.assign()).decision.lease_id
    await live.report(lease, task_pb2.OUTCOME_STATUS_FAILED, duration=span(2), error_kind="OutOfMemory")
    again = await live.assign()
    assert (again.replayed, task_pb2.TaskState.Name(again.state)) == (True, "TASK_STATE_FINISHED")
    assert (again.outcome.status, again.outcome.error_kind) == (task_pb2.OUTCOME_STATUS_FAILED, "OutOfMemory")


@pytest.mark.parametrize(
    "change",
    [
        {"task_type": "other"},
        {"category": "bug"},
        {"priority": 0.6},
        {"excluded_workers": ["x"]},
        {"features": {"bytes": 1.0}},
        {"attributes": {"dataset": "a"}},
        {"user": "u"},
        {"max_attempts": 1},
        {"requested_resources": {"cpus": 2.0}},
        {"caller_choice": "w2"},
        {"loss_policy": task_pb2.LOSS_POLICY_REQUEUE},
        {"hints": task_pb2.TaskHints(dependencies=0)},
        {"start_by": instant(WALL_S + 60)},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_the_same_identity_with_another_body_is_refused(live: Running, change: dict[str, Any]) -> None:
    await live.worker()
    await live.assign()
    before = digest(live)
    problem = await live.refuse(**change)
    assert (problem.code, problem.reason) == ("ALREADY_EXISTS", "TASK_CONFLICT")
    assert problem.metadata == {"task_id": "t", "attempt": "1"}
    assert digest(live) == before


@pytest.mark.parametrize("attempt", [2, 4])
async def test_another_attempt_while_one_lives_is_refused(live: Running, attempt: int) -> None:
    await live.worker()
    await live.assign(attempt=3)
    problem = await live.refuse(attempt=attempt)
    assert (problem.code, problem.reason) == ("ALREADY_EXISTS", "TASK_CONFLICT")


async def test_a_lost_attempt_asks_for_the_next_one(live: Running) -> None:
    stream = await live.worker()
    await live.assign(attempt=3)
    await stream.send(intent=worker_pb2.WORKER_INTENT_LEAVE)
    await stream.goodbye()
    problem = await live.refuse(attempt=3)
    assert (problem.code, problem.reason) == ("ABORTED", "ATTEMPT_LOST")
    assert problem.metadata == {"task_id": "t", "attempt": "3", "next_attempt": "4"}
    assert "attempt 4" in problem.message
    await live.worker("another")
    assert (await live.assign(attempt=4)).decision.worker_id == "another"


async def test_a_cancelled_attempt_is_refused(live: Running) -> None:
    await live.worker()
    await live.assign()
    await live.cancel()
    problem = await live.refuse()
    assert (problem.code, problem.reason) == ("FAILED_PRECONDITION", "TASK_CANCELLED")
    assert (await live.assign(attempt=2)).decision.worker_id == "w"


async def test_the_same_request_many_times_at_once_takes_one_slot(live: Running) -> None:
    await live.worker()
    answers = await asyncio.gather(*(live.assign() for _ in range(50)))
    assert len({each.decision.lease_id for each in answers}) == 1
    assert sorted(each.replayed for each in answers) == [False] + [True] * 49
    assert live.record().occupied == 1


# ---------------------------------------------------------------------- refusals


async def test_no_worker_at_all(live: Running) -> None:
    problem = await live.refuse()
    assert (problem.code, problem.reason, problem.domain) == ("RESOURCE_EXHAUSTED", "NO_WORKERS", DOMAIN)
    assert problem.retry_s == 1.0
    assert problem.refusal is not None
    assert problem.refusal.blocking == task_pb2.BLOCKING_REASON_NO_ELIGIBLE_WORKER_NOW
    assert problem.metadata["task_id"] == "t"
    assert problem.metadata["task_type"] == "resize"


async def test_no_free_slot_says_how_many_are_busy_and_when_to_come_back(live: Running) -> None:
    for worker_id in ("a", "b"):
        await live.worker(worker_id, registration=Registration(max_concurrent_tasks=1, reports_outcomes=True))
    await live.assign("a")
    await live.assign("b")
    first, second = await live.refuse("c"), await live.refuse("d")
    assert (first.code, first.reason) == ("RESOURCE_EXHAUSTED", "NO_FREE_SLOT")
    assert first.refusal is not None
    assert first.refusal.blocking == task_pb2.BLOCKING_REASON_NO_FREE_SLOT
    assert first.rejections() == {"REJECTION_REASON_NO_FREE_SLOT": 2}
    assert first.metadata["no_free_slot"] == "2"
    # Nothing has ended yet: 1 s per task, 2 slots, one every 0.5 s; the k-th caller refused in a row is told the k-th.
    assert (first.retry_s, second.retry_s) == (0.5, 1.0)


@pytest.mark.parametrize(("duration_s", "retry_s"), [(0.000001, 0.05), (3_000_000.0, 60.0)])
async def test_retry_info_has_bounds(live: Running, duration_s: float, retry_s: float) -> None:
    await live.worker(registration=Registration(max_concurrent_tasks=1, reports_outcomes=True))
    for number in range(60):
        lease = (await live.assign(f"t{number}")).decision.lease_id
        await live.report(lease, duration=span(duration_s))
    await live.assign("holds the slot")
    assert (await live.refuse("late")).retry_s == retry_s


async def test_nobody_who_could_is_there_now(live: Running) -> None:
    stream = await live.worker(registration=Registration(capabilities=["gpu"]))
    await live.worker("other")
    await stream.lose()
    await live.gone()
    problem = await live.refuse(required_capabilities=["gpu"])
    assert (problem.code, problem.reason) == ("RESOURCE_EXHAUSTED", "NO_ELIGIBLE_WORKER_NOW")
    assert problem.retry_s == 1.0
    assert problem.rejections() == {"REJECTION_REASON_DISCONNECTED": 1, "REJECTION_REASON_CAPABILITY": 1}


async def test_a_capability_that_nobody_has_is_named(live: Running) -> None:
    await live.worker(registration=Registration(capabilities=["cpu"]))
    problem = await live.refuse(required_capabilities=["gpu", "cpu", "tpu"])
    assert (problem.code, problem.reason) == ("FAILED_PRECONDITION", "NO_CAPABLE_WORKER")
    assert problem.refusal is not None
    assert problem.refusal.blocking == task_pb2.BLOCKING_REASON_NO_WORKER_COULD_EVER
    assert list(problem.refusal.missing_capabilities) == ["gpu", "tpu"]
    assert problem.retry_s is None
    assert "'gpu', 'tpu'" in problem.message


async def test_capabilities_that_never_come_together_are_not_called_missing(live: Running) -> None:
    await live.worker("a", registration=Registration(capabilities=["gpu"]))
    await live.worker("b", registration=Registration(capabilities=["cpu"]))
    problem = await live.refuse(required_capabilities=["gpu", "cpu"])
    assert problem.reason == "NO_CAPABLE_WORKER"
    assert problem.refusal is not None
    assert not problem.refusal.missing_capabilities
    assert "at once" in problem.message


async def test_a_label_that_nobody_carries_is_named(live: Running) -> None:
    await live.worker(registration=Registration(labels={"zone": "a"}))
    problem = await live.refuse(match_labels={"zone": "b"})
    assert (problem.code, problem.reason) == ("FAILED_PRECONDITION", "NO_CAPABLE_WORKER")
    assert problem.refusal is not None
    assert list(problem.refusal.missing_labels) == ["zone=b"]
    assert problem.rejections() == {"REJECTION_REASON_LABEL": 1}


async def test_a_task_that_excludes_everybody_is_told_so(live: Running) -> None:
    await live.worker()
    problem = await live.refuse(excluded_workers=["w", "never heard of"])
    assert (problem.code, problem.reason) == ("FAILED_PRECONDITION", "NO_CAPABLE_WORKER")
    assert problem.rejections() == {"REJECTION_REASON_EXCLUDED": 1}
    assert (await live.assign("another")).decision.worker_id == "w"


async def test_more_label_keys_than_the_index_holds_are_refused_by_field(live: Running) -> None:
    labels = {f"key{number}": "x" for number in range(64)}
    await live.worker(registration=Registration(labels=labels))
    await live.worker("other", registration=Registration(labels={"one more": "x"}))
    assert (await live.assign("as many", match_labels=labels)).decision.worker_id == "w"
    problem = await live.refuse(match_labels={"one more": "x"})
    assert (problem.code, problem.reason, problem.fields) == (
        "INVALID_ARGUMENT",
        "INVALID_ARGUMENT",
        ["task.match_labels"],
    )


@pytest.mark.parametrize(("offset_s", "placed"), [(-0.001, False), (0.0, True), (0.001, True)])
async def test_a_task_whose_start_by_has_passed_is_not_placed(live: Running, offset_s: float, placed: bool) -> None:
    await live.worker()
    request = api.AssignRequest(task=task(start_by=instant(WALL_S + offset_s)))
    if placed:
        assert (await live.stub.Assign(request)).decision.worker_id == "w"
        return
    before = digest(live)
    problem = await refused(live.stub.Assign(request))
    assert (problem.code, problem.reason) == ("DEADLINE_EXCEEDED", "START_BY_PASSED")
    assert digest(live) == before


async def test_a_draining_server_takes_no_tasks_and_still_takes_outcomes(live: Running) -> None:
    await live.worker()
    lease = (await live.assign()).decision.lease_id
    live.app.calls.draining = True
    problem = await live.refuse("next")
    assert (problem.code, problem.reason) == ("UNAVAILABLE", "SERVER_DRAINING")
    batch = api.AssignBatchRequest(requests=[api.AssignRequest(task=task("next"))])
    assert (await refused(live.stub.AssignBatch(batch))).reason == "SERVER_DRAINING"
    assert (await live.report(lease, duration=span(1))).result == api.OUTCOME_RESULT_ACCEPTED
    assert await live.state() == "FINISHED"


async def test_a_draining_server_takes_no_new_streams(live: Running) -> None:
    live.app.streams.draining = True
    stream = live.stream()
    await stream.send()
    problem = await stream.problem()
    assert (problem.code, problem.reason) == ("UNAVAILABLE", "SERVER_DRAINING")
    assert not live.core.fleet.records


async def test_a_fault_of_the_server_tells_the_caller_nothing(
    live: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setitem(
        live.core._handlers, next(kind for kind in live.core._handlers if kind.__name__ == "Submit"), broken
    )
    problem = await live.refuse()
    assert (problem.code, problem.reason) == ("INTERNAL", "INTERNAL")
    assert "secret" not in problem.message + str(problem.metadata)
    assert "secret detail" in caplog.text


# ---------------------------------------------------------------------- fallback, as the caller sees it


class Odd(EmaPredictor):
    """A predictor that does what a test says."""

    def __init__(self, answer: Callable[[], float]) -> None:
        super().__init__(settings().predictor)
        self.answer = answer

    def predict(self, task: Task) -> Prediction:
        point_ms = self.answer()
        return Prediction(point_ms, point_ms, point_ms, point_ms, 0.0, 0, "odd", "odd")


class OddScorer(WeightedScorer):
    """A scorer that fails when it is asked for a decision."""

    def score(self, worker: WorkerView, task: Task, wait_ms: float, duration_ms: float) -> Any:
        raise RuntimeError("no score")


def fails() -> float:
    raise RuntimeError("no prediction")


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (fails, "PREDICTOR_ERROR"),
        (lambda: float("nan"), "PREDICTION_INVALID"),
        (lambda: -1.0, "PREDICTION_INVALID"),
        (lambda: float("inf"), "PREDICTION_INVALID"),
    ],
    ids=["raises", "nan", "negative", "infinite"],
)
async def test_a_failing_predictor_is_a_fallback_with_its_cause_and_three_open_the_breaker(
    answer: Callable[[], float], cause: str
) -> None:
    core = make_core(settings(), Now(1_000.0, WALL_S), "odd")
    core.predictor = core.placement._predictor = Odd(answer)
    async with running(core=core) as live:
        await live.worker()
        causes = []
        for number in range(4):
            made = (await live.assign(f"t{number}")).decision
            assert made.source == decision_pb2.DECISION_SOURCE_FALLBACK
            assert (made.scorer, made.score, len(made.terms)) == ("round_robin", 0.0, 0)
            assert not made.HasField("prediction")
            assert "next in turn" in made.reasoning
            causes.append(decision_pb2.DecisionCause.Name(made.cause).removeprefix("DECISION_CAUSE_"))
        assert causes == [cause] * 3 + [causes[3]]
        assert causes[3] in {"BREAKER_OPEN", "TYPE_BREAKER_OPEN"}
        assert any(kind == "BREAKER_OPENED" for kind, *_ in live.told())


async def test_a_failing_scorer_is_a_fallback_with_its_cause() -> None:
    core = make_core(settings(), Now(1_000.0, WALL_S), "odd")
    core.scorer = core.placement._scorer = OddScorer(settings().scorer)
    async with running(core=core) as live:
        await live.worker()
        made = (await live.assign()).decision
        assert made.cause == decision_pb2.DECISION_CAUSE_SCORER_ERROR
        assert made.HasField("prediction")


# ---------------------------------------------------------------------- what reaches the worker


async def test_every_field_of_a_task_that_a_worker_may_need_reaches_it(live: Running) -> None:
    stream = await live.sdk_worker(capabilities=["gpu"], labels={"zone": "a"})
    expected = Duration(seconds=90)
    asked = task_pb2.Task(
        task_id="t",
        attempt=2,
        tenant="acme",
        task_type="resize",
        category="bug",
        priority=0.9,
        required_capabilities=["gpu"],
        excluded_workers=["x"],
        match_labels={"zone": "a"},
        features={"bytes": 1e9},
        attributes={"dataset": "hg38"},
        hints=task_pb2.TaskHints(expected_duration=expected, description_length=0, dependencies=3),
        start_by=instant(WALL_S + 60),
        loss_policy=task_pb2.LOSS_POLICY_REQUEUE,
        payload=b"\x00",
        user="u",
        requested_resources={"cpus": 4.0},
        caller_choice="y",
        max_attempts=7,
    )
    await live.stub.Assign(api.AssignRequest(task=asked, delivery=STREAM))
    assert (await stream.next()).run_task.task == asked
    unset = set(task_pb2.Task.DESCRIPTOR.fields_by_name) - fields_of(asked)
    assert unset == {"not_before", "slots"}  # a task with either is not taken yet
