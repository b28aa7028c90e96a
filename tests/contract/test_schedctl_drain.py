"""`schedctl worker drain`, `drains` and `drain` against a real server."""

import asyncio
import io
import time
from typing import Any

import pytest

from scheduler_api.v1 import admin_service_pb2 as admin
from scheduler_api.v1 import worker_pb2
from scheduler_server.schedctl.draining import follow, instant
from scheduler_server.schedctl.main import together
from scheduler_server.schedctl.paper import Paper
from tests.contract.server import DEADLINE_S, Running, until
from tests.contract.test_drains import ask, ends, gives_back, holding, told_of
from tests.contract.test_schedctl import ctl, typed


async def test_a_drain_is_tried_begun_looked_at_and_called_off(live: Running) -> None:
    live.clock.wall = time.time()  # spans are counted from the clock on the wall
    stream, _, held = await holding(live)
    await live.sdk_worker("other", labels={"zone": "a"})
    words = [
        "worker",
        "drain",
        "w1",
        "--id",
        "d1",
        "--deadline",
        "30m",
        "--at-deadline",
        "cancel",
        "--reason",
        "a disk",
    ]
    tried = await ctl(live, *words, "--dry-run")
    first, second, head, line = tried.out.splitlines()
    assert first == "would drain 1 worker with 2 leases, 1 of them not started; nothing was done"
    assert second.startswith("deadline ")
    assert second.endswith(": what still runs then is stopped, and ends as cancelled")
    assert head.split()[:2] == ["WORKER", "LEFT"]
    assert line.split()[:3] == ["w1", "2", "1"]
    assert not live.record("w1").draining

    begun = await ctl(live, *words)
    first, second, third = begun.out.splitlines()
    assert first == "d1: 1 worker drain, with 2 leases, 1 of them to be handed back"
    assert "what still runs then is stopped" in second
    assert third == "schedctl drain watch d1 follows; drain cancel ends it"
    await told_of(stream)
    await stream.beat(drain_id="d1", reports=[gives_back(held)], queue_depth=1)
    head, line = (await ctl(live, "drains", "-o", "wide")).out.splitlines()
    assert head.split()[:6] == ["DRAIN", "STATE", "WORKERS", "EMPTY", "LEFT", "BACK"]
    assert line.split()[:6] == ["d1", "active", "w1", "0/1", "1", "1"]
    shown = (await ctl(live, "drain", "show", "d1")).out
    for said in (
        "a disk",
        "0 of 1 worker empty, 1 lease left, 1 handed back, 0 finished",
        "noted by        1 of 1 worker",
    ):
        assert said in shown
    assert "drains          d1" in (await ctl(live, "worker", "w1")).out

    ended = await ctl(live, "drain", "cancel", "d1", "nobody", "--reason", "it was the cable")
    assert ended.code == 1
    assert ended.out == "d1: called off; 1 worker let go, 1 task had been handed back\n"
    assert "drain 'nobody' is not known" in ended.err
    assert (await ctl(live, "drains")).out == "there is no drain\n"
    assert "cancelled" in (await ctl(live, "drains", "--all")).out
    assert (await ctl(live, "drains", "--state", "complete")).out == "there is none like that\n"
    assert (await ctl(live, "drains", "--all", "-o", "json")).json()["drains"][0]["returned_tasks"] == "1"


async def test_what_would_leave_nobody_is_refused_and_force_means_it(live: Running) -> None:
    await live.sdk_worker("a", labels={"zone": "1"})
    refused = await ctl(live, "worker", "drain", "--label", "zone=*")
    assert refused.code == 1
    assert "it matches every worker (1): narrow it, or send force" in refused.err
    forced = await ctl(live, "worker", "drain", "--label", "zone=*", "--force", "-o", "json")
    assert forced.json()["drain"]["state"] == "DRAIN_STATE_COMPLETE"
    none = await ctl(live, "worker", "drain", "--label", "zone=9")
    assert "no worker matches now" in none.err
    unknown = await ctl(live, "worker", "drain", "b")
    assert unknown.code == 1
    assert "not known: 'b'" in unknown.err
    assert (await ctl(live, "worker", "drain", "b", "--allow-unknown")).code == 0


async def test_a_worker_that_drains_by_itself_cannot_be_called_off(live: Running) -> None:
    stream = await live.sdk_worker("w1")
    await stream.beat(intent=worker_pb2.WORKER_INTENT_DRAIN)
    (own,) = (await ask(live, "ListDrains")).drains
    refused = await ctl(live, "drain", "cancel", own.drain_id)
    assert refused.code == 1
    assert "drains by its own wish" in refused.err
    assert "w1, by its own wish" in (await ctl(live, "drain", "show", own.drain_id)).out


async def test_watching_tells_each_change_and_ends_with_the_drain(live: Running) -> None:
    stream, runs, held = await holding(live)
    await live.sdk_worker("other", slots=9)
    watching = asyncio.create_task(ctl(live, "worker", "drain", "w1", "--id", "d1", "--watch"))
    await told_of(stream)
    await until(lambda: live.app.admin.drain_watches, "it is watched")
    await stream.beat(drain_id="d1", reports=[gives_back(held)], queue_depth=1)
    await until(lambda: live.app.admin.drain_messages > 1, "that is told")
    await stream.beat(drain_id="d1", reports=[ends(runs)])
    ran = await asyncio.wait_for(watching, DEADLINE_S)
    assert ran.code == 0
    first, *lines = ran.out.splitlines()
    assert first.startswith("d1: 1 worker drain")
    assert "active  0 of 1 worker empty, 2 leases left" in lines[0]
    assert lines[-1].endswith("complete  1 of 1 worker empty, 0 leases left, 1 handed back, 1 finished")


async def test_watching_one_that_is_called_off_fails(live: Running) -> None:
    await holding(live)
    await live.sdk_worker("other")
    await ask(live, "DrainWorkers", worker_ids=["w1"], drain_id="d1")
    watching = asyncio.create_task(ctl(live, "drain", "watch", "d1", "-o", "json"))
    await until(lambda: live.app.admin.drain_watches, "it is watched")
    await ask(live, "CancelDrain", drain_id="d1")
    ran = await asyncio.wait_for(watching, DEADLINE_S)
    assert ran.code == 1
    assert '"DRAIN_STATE_CANCELLED"' in ran.out.splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "which workers?"),
        (["a", "--at-deadline", "lose"], "--at-deadline goes with --deadline"),
        (["a", "--deadline", "tomorrow"], "a span such as 30m, or an instant"),
        (["a", "--deadline", "5m", "--at-deadline", "shoot"], "leave, cancel, lose"),
        (["a", "--dry-run", "--watch"], "nothing to --watch"),
        (["--label", "zone"], "KEY=VALUE"),
        (["--label", "a=1", "--label", "a=2"], "no --label twice"),
    ],
)
def test_what_makes_no_sense_is_told_without_asking_a_server(words: list[str], said: str) -> None:
    ran = typed("worker", "drain", *words)
    assert ran.code == 2
    assert said in ran.err


def test_a_command_of_two_words_is_only_that_where_a_command_stands() -> None:
    assert together(["worker", "drain", "a"]) == ["worker drain", "a"]
    assert together(["-o", "json", "worker", "drain"]) == ["-o", "json", "worker drain"]
    assert together(["worker", "w1"]) == ["worker", "w1"]
    assert together(["task", "worker", "drain"]) == ["task", "worker", "drain"]
    assert together(["completion", "candidates", "worker", "drain", ""]) == [
        "completion",
        "candidates",
        "worker drain",
        "",
    ]


def test_completion_offers_the_second_word() -> None:
    assert typed("completion", "candidates", "worker", "d").out == "drain\n"
    assert set(typed("completion", "candidates", "drain", "").out.split()) == {"show", "watch", "cancel"}


def test_instants_are_spans_from_now_or_times_of_the_calendar() -> None:
    assert instant("2026-11-22T18:00:00Z") == instant("2026-11-22T19:00:00+01:00") == instant("2026-11-22T18:00:00")
    assert instant("30m") - instant("0s") == pytest.approx(1_800, abs=5)


class Given:
    """As much of a `Work` as following needs, on a terminal of 100 columns."""

    def __init__(self, messages: list[Any]) -> None:
        self.out = io.StringIO()
        self.paper = Paper(self.out, wide=100, colour=False)
        self.json = False
        self.surroundings = type("Around", (), {"stdout": self.out})()
        self.connection = type("Connection", (), {"stream": lambda _self, _method, _request: iter(messages)})()


def test_on_a_terminal_one_picture_is_drawn_over_itself() -> None:
    def message(left: int, state: Any) -> admin.WatchDrainResponse:
        line = admin.DrainWorkerStatus(worker_id="w1", remaining_leases=left, finished_tasks=4 - left)
        drain = admin.DrainStatus(
            drain_id="d1", state=state, worker_count=1, empty_workers=int(not left), remaining_leases=left,
            finished_tasks=4 - left, workers=[line],
        )  # fmt: skip
        return admin.WatchDrainResponse(drain=drain)

    given: Any = Given([message(3, 1), message(0, 3)])
    assert follow(given, "d1") == 0
    first, second = given.out.getvalue().split("\x1b[3A\x1b[J")
    assert first.splitlines()[0].startswith(
        "drain d1 active  [######..................] 0 of 1 worker empty, 3 leases left"
    )
    assert first.splitlines()[2].split()[:2] == ["w1", "3"]
    assert second.startswith("drain d1 complete  [########################] 1 of 1 worker empty")
    assert len(second.splitlines()) == 1
