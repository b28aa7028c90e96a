"""ListWaiting and ExplainWaiting: which tasks wait, in which order, and why each does."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from scheduler_api.v1 import admin_service_pb2 as admin
from scheduler_api.v1 import admin_service_pb2_grpc, decision_pb2, task_pb2, worker_pb2
from scheduler_api.v1 import schedule_service_pb2 as api
from scheduler_server.assignment.queue_settings import QueueSettings
from scheduler_server.rpc import paging
from tests.contract.server import DEADLINE_S, WALL_S, Problem, Running, refused, running, settings, span, task

ONE = worker_pb2.WorkerRegistration(max_concurrent_tasks=1, reports_outcomes=True)


@pytest.fixture
async def full() -> AsyncIterator[Running]:
    """A server whose only slot is taken, with tasks that wait in the order in which they came."""
    async with running(settings(queue=QueueSettings(order="fifo"))) as live:
        await live.worker(registration=ONE)
        await live.assign("runs")
        yield live


def stub_of(live: Running) -> Any:
    return admin_service_pb2_grpc.AdminServiceStub(live.channel)


async def enqueue(live: Running, task_id: str, **fields: Any) -> None:
    live.forward(0.5)
    request = api.AssignRequest(task=task(task_id, **fields), enqueue=api.Enqueue())
    assert (await live.stub.Assign(request, timeout=DEADLINE_S)).HasField("waiting")


async def listed(live: Running, **fields: Any) -> admin.ListWaitingResponse:
    request = admin.ListWaitingRequest(**fields)
    answer: admin.ListWaitingResponse = await stub_of(live).ListWaiting(request, timeout=DEADLINE_S)
    return answer


def ids(answer: admin.ListWaitingResponse) -> list[str]:
    return [each.task.task_id for each in answer.tasks]


async def explained(live: Running, task_id: str, **fields: Any) -> admin.ExplainWaitingResponse:
    request = admin.ExplainWaitingRequest(task=task_pb2.TaskKey(task_id=task_id), **fields)
    answer: admin.ExplainWaitingResponse = await stub_of(live).ExplainWaiting(request, timeout=DEADLINE_S)
    return answer


async def problem(live: Running, method: str, request: Any) -> Problem:
    return await refused(getattr(stub_of(live), method)(request))


def reason(value: int) -> str:
    return decision_pb2.RejectionReason.Name(value).removeprefix("REJECTION_REASON_")  # type: ignore[arg-type] # a number


# ---------------------------------------------------------------------- ListWaiting


async def test_nothing_waits_at_first(live: Running) -> None:
    told = await listed(live)
    assert (ids(told), told.total_size, told.next_page_token) == ([], 0, "")
    assert told.order


async def test_tasks_are_listed_in_the_order_in_which_they_run(full: Running) -> None:
    for name in ("c", "a", "b"):
        await enqueue(full, name, tenant="x", category="bug", required_capabilities=[])
    told = await listed(full)
    assert ids(told) == ["c", "a", "b"]
    assert [each.waiting.position for each in told.tasks] == [0, 1, 2]
    assert (told.total_size, told.order) == (3, "fifo")
    first = told.tasks[0]
    assert (first.task.tenant, first.task_type, first.category, first.slots) == ("x", "resize", "bug", 1)
    assert first.waited.ToNanoseconds() == pytest.approx(1.0e9)
    assert first.waiting.HasField("expected_start_p50")
    assert not first.held_call
    assert not first.HasField("prediction")


async def test_in_another_order_the_list_is_another() -> None:
    async with running(settings(queue=QueueSettings(order="priority"))) as live:
        await live.worker(registration=ONE)
        await live.assign("runs")
        for name, priority in (("low", 0.0), ("high", 1.0), ("middle", 0.5)):
            await enqueue(live, name, priority=priority)
        told = await listed(live)
        assert ids(told) == ["high", "middle", "low"]
        assert [each.waiting.position for each in told.tasks] == [0, 1, 2]


async def test_what_is_not_due_comes_last_the_soonest_first(full: Running) -> None:
    for name, after in (("late", 120), ("soon", 60)):
        await enqueue(full, name, not_before=Timestamp(seconds=int(WALL_S) + after))
    await enqueue(full, "now")
    told = await listed(full)
    assert ids(told) == ["now", "soon", "late"]
    assert told.tasks[1].waiting.blocking == task_pb2.BLOCKING_REASON_NOT_YET_DUE
    assert told.tasks[1].not_before.seconds == int(WALL_S) + 60


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"tenant": "x"}, ["a"]),
        ({"tenant": ""}, ["b", "gpu", "kept-out"]),
        ({"task_type": "other"}, ["b"]),
        ({"blocking": [task_pb2.BLOCKING_REASON_NO_WORKER_COULD_EVER]}, ["gpu", "kept-out"]),
        ({"blocking": [task_pb2.BLOCKING_REASON_NO_FREE_SLOT]}, ["a", "b"]),
        ({"worker_id": "w"}, ["a", "b"]),
        ({"worker_id": "nobody"}, []),
        ({"min_wait": span(1.5)}, ["a", "b"]),
        ({"min_wait": span(1.500001)}, ["a"]),
    ],
)
async def test_filters_choose(full: Running, wanted: dict[str, Any], found: list[str]) -> None:
    await enqueue(full, "a", tenant="x")
    await enqueue(full, "b", task_type="other")
    await enqueue(full, "gpu", required_capabilities=["gpu"])
    await enqueue(full, "kept-out", excluded_workers=["w"])
    full.forward(0.5)
    told = await listed(full, **wanted)
    assert ids(told) == found
    assert told.total_size == len(found)


async def test_pages_hold_while_the_queue_moves(full: Running) -> None:
    names = [f"t{number}" for number in range(7)]
    for name in names:
        await enqueue(full, name)
    first = await listed(full, page_size=3)
    assert ids(first) == names[:3]
    assert first.total_size == 7
    await full.cancel("t2")  # the last of the page, gone
    await full.cancel("t4")
    await enqueue(full, "new")
    second = await listed(full, page_size=3, page_token=first.next_page_token)
    assert ids(second) == ["t3", "t5", "t6"]
    third = await listed(full, page_size=3, page_token=second.next_page_token)
    assert ids(third) == ["new"]
    assert not third.next_page_token


@pytest.mark.parametrize("size", [1, 2, 3, 1_000])
async def test_pages_of_any_size_hold_all_once(full: Running, size: int) -> None:
    for number in range(3):
        await enqueue(full, f"t{number}", required_capabilities=["gpu"] if number == 1 else [])
    await enqueue(full, "later", not_before=Timestamp(seconds=int(WALL_S) + 600))
    seen: list[str] = []
    token = ""
    while True:
        page = await listed(full, page_size=size, page_token=token)
        seen += ids(page)
        token = page.next_page_token
        if not token:
            break
    assert seen == ["t0", "t1", "t2", "later"]


async def test_a_token_of_another_request_is_refused(full: Running) -> None:
    for name in ("a", "b"):
        await enqueue(full, name)
    token = (await listed(full, page_size=1)).next_page_token
    for request in (
        admin.ListWaitingRequest(page_token=token, task_type="resize"),
        admin.ListWaitingRequest(page_token="nonsense"),
    ):
        told = await problem(full, "ListWaiting", request)
        assert (told.code, told.reason) == ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"page_size": 1_001}, "page_size"),
        ({"blocking": [99]}, "blocking[0]"),
        ({"blocking": [0]}, "blocking[0]"),
        ({"min_wait": span(-1)}, "min_wait"),
        ({"tenant": "x" * 257}, "tenant"),
        ({"worker_id": "a\x07"}, "worker_id"),
    ],
)
async def test_a_malformed_filter_is_refused_by_field(live: Running, fields: dict[str, Any], field: str) -> None:
    told = await problem(live, "ListWaiting", admin.ListWaitingRequest(**fields))
    assert told.code == "INVALID_ARGUMENT"
    assert told.fields == [field]


# ---------------------------------------------------------------------- ExplainWaiting


async def test_a_task_that_waits_is_told_why_who_is_ahead_and_which_slot_comes_next(full: Running) -> None:
    await enqueue(full, "first")
    await enqueue(full, "elsewhere", required_capabilities=["gpu"])
    await enqueue(full, "second")
    told = await explained(full, "second")
    assert told.task.task.task_id == "second"
    assert told.task.waiting.position == 1
    assert [each.task.task_id for each in told.ahead] == ["first"]
    assert [(reason(each.reason), each.count) for each in told.rejections] == [("NO_FREE_SLOT", 1)]
    assert [each.task.task_id for each in told.next_slots] == ["runs"]
    assert not told.HasField("refusal")
    assert not told.pauses
    assert not told.overrides
    assert "blocked: no free slot" in told.text
    assert "once the task ahead has its slot and another becomes free" in told.text


async def test_what_nobody_has_is_named(full: Running) -> None:
    await enqueue(full, "t", required_capabilities=["gpu"], excluded_workers=["w"])
    told = await explained(full, "t")
    assert told.task.waiting.blocking == task_pb2.BLOCKING_REASON_NO_WORKER_COULD_EVER
    assert list(told.refusal.missing_capabilities) == ["gpu"]
    assert [(reason(each.reason), each.count) for each in told.rejections] == [("CAPABILITY", 1)]
    assert "once a worker registers that has all it requires" in told.text


async def test_a_worker_that_the_task_excludes_is_counted_as_such(full: Running) -> None:
    await enqueue(full, "t", excluded_workers=["w", "unknown"])
    told = await explained(full, "t")
    assert [(reason(each.reason), each.count) for each in told.rejections] == [("EXCLUDED", 1)]


async def test_a_task_that_is_not_due_says_when_it_will_be(full: Running) -> None:
    await enqueue(full, "t", not_before=Timestamp(seconds=int(WALL_S) + 60))
    told = await explained(full, "t")
    assert told.task.waiting.blocking == task_pb2.BLOCKING_REASON_NOT_YET_DUE
    assert not told.ahead
    assert "blocked: not due yet" in told.text


@pytest.mark.parametrize(("most", "ahead"), [({}, 10), ({"max_ahead": 0}, 0), ({"max_ahead": 1_000}, 12)])
async def test_so_many_ahead_are_listed_as_wanted(full: Running, most: dict[str, int], ahead: int) -> None:
    for number in range(13):
        await enqueue(full, f"t{number:02}")
    told = await explained(full, "t12", **most)
    assert [each.task.task_id for each in told.ahead] == [f"t{number:02}" for number in range(ahead)]


async def test_a_task_that_does_not_wait_is_refused_with_its_state(full: Running) -> None:
    request = admin.ExplainWaitingRequest(task=task_pb2.TaskKey(task_id="runs"))
    told = await problem(full, "ExplainWaiting", request)
    assert (told.code, told.reason) == ("FAILED_PRECONDITION", "TASK_NOT_WAITING")
    await enqueue(full, "over")
    await full.cancel("over")
    told = await problem(full, "ExplainWaiting", admin.ExplainWaitingRequest(task=task_pb2.TaskKey(task_id="over")))
    assert told.reason == "TASK_NOT_WAITING"


async def test_a_task_that_nobody_knows_is_refused_with_those_that_look_like_it(full: Running) -> None:
    await enqueue(full, "render-17")
    request = admin.ExplainWaitingRequest(task=task_pb2.TaskKey(task_id="render-71"))
    told = await problem(full, "ExplainWaiting", request)
    assert (told.code, told.reason) == ("NOT_FOUND", "TASK_UNKNOWN")
    assert told.metadata["similar"] == "render-17"
    other = admin.ExplainWaitingRequest(task=task_pb2.TaskKey(task_id="render-17", attempt=2))
    assert (await problem(full, "ExplainWaiting", other)).reason == "TASK_UNKNOWN"


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (admin.ExplainWaitingRequest(), "task"),
        (admin.ExplainWaitingRequest(task=task_pb2.TaskKey()), "task.task_id"),
        (admin.ExplainWaitingRequest(task=task_pb2.TaskKey(task_id="t"), max_ahead=1_001), "max_ahead"),
    ],
)
async def test_a_malformed_question_is_refused_by_field(live: Running, request_: Any, field: str) -> None:
    told = await problem(live, "ExplainWaiting", request_)
    assert told.code == "INVALID_ARGUMENT"
    assert told.fields == [field]


async def test_others_are_answered_while_a_long_list_is_made(full: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(50):
        await enqueue(full, f"t{number:02}")
    monkeypatch.setattr(paging, "SLICE_S", -1.0)  # every task is a slice of its own
    answers: list[str] = []

    async def ask(name: str, call: Any) -> None:
        await call
        answers.append(name)

    list_all = asyncio.create_task(ask("list", listed(full)))
    explain = asyncio.create_task(ask("explain", explained(full, "t49")))
    turns = 0
    while not (list_all.done() and explain.done()):
        await asyncio.sleep(0)
        turns += 1
    assert sorted(answers) == ["explain", "list"]
    assert turns > 100  # one per task that waits, and per question
