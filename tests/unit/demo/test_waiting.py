"""What is heard of tasks that wait, and of those that wait no more."""

import asyncio
from datetime import UTC, datetime

import pytest
from grpc import StatusCode

from scheduler_api.v1 import decision_pb2, schedule_service_pb2, task_pb2
from scheduler_server.client import (
    AsyncSchedulerClient,
    BlockingReason,
    SchedulerError,
    ServerUnavailable,
    TaskStatus,
    Waiting,
)
from scheduler_server.demo.prospect import prospect_of
from scheduler_server.demo.queue_client import QueueClient
from scheduler_server.demo.tape import Tape
from scheduler_server.demo.waiting_view import MOST, WaitingView, waiting
from scheduler_server.demo.way_in import ByAssign
from tests.unit.demo.tapes import tape, wait


def waits_at(position: int, p50: float | None = None) -> task_pb2.Waiting:
    message = task_pb2.Waiting(position=position, blocking=task_pb2.BLOCKING_REASON_NO_FREE_SLOT)
    if p50 is not None:
        message.expected_start_p50.FromDatetime(datetime.fromtimestamp(p50, UTC))
    return message


def status(task_id: str, waiting: task_pb2.Waiting | None = None, worker: str = "") -> TaskStatus:
    message = schedule_service_pb2.TaskStatus(task=task_pb2.TaskKey(task_id=task_id), waiting=waiting)
    if worker:
        decision = decision_pb2.Decision(
            worker_id=worker, lease_id=f"l-{task_id}", source=decision_pb2.DECISION_SOURCE_PREDICTED
        )
        message.decision.CopyFrom(decision)
    return TaskStatus.from_proto(message)


def client_of(made: Tape) -> QueueClient:
    client = AsyncSchedulerClient("127.0.0.1:1")  # nothing is asked of it
    return QueueClient(client, ByAssign(client), made, {})


def test_what_the_server_says_is_kept_on_the_clock_of_the_workers() -> None:
    said = Waiting(
        position=4,
        expected_start_p50=datetime.fromtimestamp(1_000.5, UTC),
        expected_start_p90=datetime.fromtimestamp(1_002.0, UTC),
        blocking=BlockingReason.NO_FREE_SLOT,
        blocking_detail="all 3 slots are taken",
    )
    found = prospect_of(said, apart_s=-900.0)
    assert found.p50 == pytest.approx(100.5)
    assert found.p90 == pytest.approx(102.0)
    assert (found.ahead, found.blocking) == (4, BlockingReason.NO_FREE_SLOT)
    assert found.detail == "all 3 slots are taken"


def test_what_the_server_does_not_say_stays_unsaid() -> None:
    said = Waiting.from_proto(task_pb2.Waiting(blocking=task_pb2.BLOCKING_REASON_NO_WORKER_COULD_EVER))
    found = prospect_of(said, apart_s=1.0)
    assert (found.p50, found.p90, found.blocking) == (None, None, BlockingReason.NO_WORKER_COULD_EVER)


async def test_a_task_waits_from_what_it_is_told_to_its_decision_and_the_first_word_is_kept() -> None:
    made = tape(0.0)
    run, client = made.runs["t-0000"], client_of(made)
    assert waiting(made) == []
    client.heard(status("t-0000", waits_at(7)))
    client.heard(status("t-0000", waits_at(3)))
    assert waiting(made) == [run]
    assert run.told is not None
    assert run.told.ahead == 7
    client.heard(status("t-0000", worker="large-1"))
    assert waiting(made) == []
    assert run.worker_id == "large-1"
    assert run.decision is not None
    assert [source for _, source in client.decided] == ["predicted"]


async def test_a_decision_is_counted_once_however_often_its_task_is_told_of() -> None:
    made = tape(0.0, 1.0)
    client = client_of(made)
    for _ in range(3):
        client.heard(status("t-0000", worker="large-1"))
    client.heard(status("somebody-elses", worker="large-1"))
    assert len(client.decided) == 1


async def test_a_task_that_a_worker_has_begun_waits_no_more_although_its_decision_is_still_on_its_way() -> None:
    made = tape(0.0)
    client_of(made).heard(status("t-0000", waits_at(0)))
    made.began("large-1", "t-0000", 101.0)
    assert waiting(made) == []


def test_waiting_tasks_are_shown_as_they_are_expected_to_start_and_last_those_that_nobody_can_tell_of() -> None:
    made = tape(0.0, 1.0, 2.0, 3.0)
    wait(made, 0, None, None)
    wait(made, 1, 105.0, 106.0)
    wait(made, 3, 104.0, 109.0)
    assert [run.item.number for run in waiting(made)] == [3, 1, 0]


class Asked(AsyncSchedulerClient):
    """Answers GetTask without a server."""

    def __init__(self, answer: TaskStatus | SchedulerError) -> None:
        super().__init__("127.0.0.1:1")
        self.answer = answer
        self.asked: list[str] = []

    async def get_task(self, task_id: str, **_: object) -> TaskStatus:
        self.asked.append(task_id)
        await asyncio.sleep(0)
        if isinstance(self.answer, SchedulerError):
            raise self.answer
        return self.answer


async def test_each_waiting_task_is_asked_after_up_to_a_bound_and_what_was_told_first_stays() -> None:
    made = tape(*range(MOST + 2))
    for number in range(MOST + 1):
        wait(made, number, 200.0 + number, 300.0, ahead=9)
    client = Asked(status("any", waits_at(1)))
    await WaitingView(client, made).ask()
    assert client.asked == [f"t-{number:04d}" for number in range(MOST)]
    run = made.runs["t-0000"]
    assert run.prospect is not None
    assert run.told is not None
    assert (run.prospect.ahead, run.told.ahead) == (1, 9)


@pytest.mark.parametrize(
    "answer", [status("t-0000", worker="large-1"), ServerUnavailable(StatusCode.UNAVAILABLE, message="gone")]
)
async def test_an_answer_that_tells_nothing_of_a_wait_changes_nothing(answer: TaskStatus | SchedulerError) -> None:
    made = tape(0.0)
    wait(made, 0, 200.0, 300.0, ahead=9)
    await WaitingView(Asked(answer), made).ask()
    run = made.runs["t-0000"]
    assert run.prospect is run.told
