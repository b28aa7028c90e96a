"""`schedctl explain`, `workers --ranked` and `queue` against the real server."""

import json

import pytest

from scheduler_api.v1 import schedule_service_pb2 as api
from tests.contract.server import DEADLINE_S, Running, span, task
from tests.contract.test_schedctl import ctl, worker


async def enqueue(live: Running, task_id: str, **fields: object) -> None:
    live.forward(0.5)
    request = api.AssignRequest(task=task(task_id, **fields), enqueue=api.Enqueue())
    await live.stub.Assign(request, timeout=DEADLINE_S)


# ---------------------------------------------------------------------- explain


async def test_a_task_that_is_described_is_tried(live: Running) -> None:
    await worker(live, "able", capabilities=["gpu"])
    await worker(live, "plain")
    ran = await ctl(live, "explain", "--task-type", "render", "--requires", "gpu", "--rejected")
    assert ran.code == 0, ran.err
    for said in ("to worker able", "predicted, the only candidate by weighted", "1 without a required", "capability"):
        assert said in ran.out
    lines = ran.out.splitlines()
    assert [line.split()[:2] for line in lines[-2:]] == [["1", "able"], ["-", "plain"]]
    assert not live.core.ledger.leases


async def test_a_task_comes_as_json_too_and_the_answer_goes_out_so(live: Running) -> None:
    await worker(live, "w1")
    said = json.dumps({"task_type": "render", "priority": 0.9})
    told = (await ctl(live, "explain", "--task-json", "-", "-o", "json", given=said)).json()
    assert told["decision"]["worker_id"] == "w1"
    assert "decision_id" not in told["decision"]
    broken = await ctl(live, "explain", "--task-json", "-", given='{"kind": "render"}')
    assert broken.code == 2
    assert "is no Task in JSON" in broken.err
    both = await ctl(live, "explain", "--task-json", "-", "--task-type", "x", given=said)
    assert both.code == 2
    assert "does not go with --task-type" in both.err


async def test_a_task_that_waits_is_told_why(live: Running) -> None:
    await worker(live, "w1", slots=1)
    await live.assign("runs")
    await enqueue(live, "first")
    await enqueue(live, "second")
    ran = await ctl(live, "explain", "second")
    assert ran.code == 0, ran.err
    for said in ("task second", "no free slot", "1 that could take", "ahead, the next one first", "first", "runs"):
        assert said in ran.out
    told = (await ctl(live, "explain", "second", "--limit", "1", "-o", "json")).json()
    assert [each["task"]["task_id"] for each in told["ahead"]] == ["first"]


async def test_a_task_that_was_placed_is_told_by_its_decision(live: Running) -> None:
    await worker(live, "w1")
    await worker(live, "w2")
    await live.assign("t1", view=api.EXPLANATION_VIEW_FULL)
    ran = await ctl(live, "explain", "t1")
    assert ran.code == 0, ran.err
    for said in ("task t1", "predicted, best of 2 candidates by weighted", "runner-up", "SCORE"):
        assert said in ran.out


async def test_what_explain_cannot_answer_is_said_in_one_line(live: Running) -> None:
    unknown = await ctl(live, "explain", "nobody")
    assert unknown.code == 1
    assert "--task-type tries one that is not there" in unknown.err
    nothing = await ctl(live, "explain")
    assert nothing.code == 2
    assert "--task-type" in nothing.err
    alone = await ctl(live, "explain", "t1", "--scorer", "weighted")
    assert (alone.code, "goes with a task to try" in alone.err) == (2, True)
    scorer = await ctl(live, "explain", "--task-type", "x", "--scorer", "best")
    assert scorer.code == 1
    assert "known are capability, earliest_finish, specialist, weighted" in scorer.err


@pytest.mark.parametrize(
    "words", [("--priority", "1.01"), ("--priority", "high"), ("--feature", "size"), ("--feature", "size=big")]
)
async def test_a_value_that_is_none_is_refused(live: Running, words: tuple[str, ...]) -> None:
    ran = await ctl(live, "explain", "--task-type", "x", *words)
    assert ran.code == 2
    assert words[0] in ran.err


async def test_names_cannot_steer_the_terminal(live: Running) -> None:
    await worker(live, "w\u202e1")
    ran = await ctl(live, "explain", "--task-type", "type\u2066x")
    assert ran.code == 0, ran.err
    assert "w\\u202e1" in ran.out
    assert "type\\u2066x" in ran.out
    assert "\u202e" not in ran.out


# ---------------------------------------------------------------------- workers --ranked


async def test_workers_are_ranked_with_their_scores(live: Running) -> None:
    await worker(live, "able", capabilities=["gpu"])
    await worker(live, "plain")
    lease = (await live.assign("t", required_capabilities=["gpu"])).decision.lease_id
    ran = await ctl(live, "workers", "--ranked")
    assert ran.code == 0, ran.err
    assert [line.split()[1] for line in ran.out.splitlines()[1:3]] == ["plain", "able"]
    assert "2 candidates by weighted" in ran.out
    assert "0.4 x load 0.850" in (await ctl(live, "workers", "--ranked", "-o", "wide")).out
    only = await ctl(live, "workers", "--ranked", "--capability", "gpu", "--rejected", "--scorer", "capability")
    assert "1 candidate by capability; not candidates: 1 capability" in only.out
    told = (await ctl(live, "workers", "--ranked", "--limit", "1", "-o", "json")).json()
    assert [each["worker_id"] for each in told["candidates"]] == ["plain"]
    await live.report(lease, duration=span(1))
    assert "no candidates" in (await ctl(live, "workers", "--ranked", "--capability", "tpu")).out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--ranked", "--sort", "load"), "the order is by score"),
        (("--ranked", "--health", "healthy"), "only --capability and --label choose"),
        (("--ranked", "--limit", "1001"), "at most 1,000"),
        (("--scorer", "weighted"), "--scorer goes with --ranked"),
        (("--rejected",), "--rejected goes with --ranked"),
    ],
)
async def test_what_does_not_go_with_a_rank_is_refused(live: Running, words: tuple[str, ...], said: str) -> None:
    ran = await ctl(live, "workers", *words)
    assert ran.code == 2
    assert said in ran.err


# ---------------------------------------------------------------------- queue


async def test_the_queue_is_listed_in_its_order_with_position_start_and_what_blocks(live: Running) -> None:
    await worker(live, "w1", slots=1)
    await live.assign("runs")
    for name in ("a", "b"):
        await enqueue(live, name, tenant="x")
    await enqueue(live, "gpu", required_capabilities=["gpu"])
    shown = (await ctl(live, "queue")).out
    table = shown[shown.index("AHEAD") :].splitlines()
    # b came to a queue that has a backlog, which allows others to pass; gpu, to one that has none.
    assert [line.split()[:2] for line in table[1:]] == [["0", "x/a"], ["0", "gpu"], ["1", "x/b"]]
    assert "no free slot" in table[1]
    assert "no worker could ever" in table[2]
    assert "in " in table[1]
    assert "1 of 3 tasks" in (await ctl(live, "queue", "--limit", "1")).out
    assert "AHEAD" not in (await ctl(live, "queue", "--limit", "0")).out


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("--tenant", "x"), ["a"]),
        (("--tenant", ""), ["gpu"]),
        (("--blocked", "no_worker_could_ever"), ["gpu"]),
        (("--worker", "w1"), ["a"]),
        (("--type", "resize"), ["a", "gpu"]),
        (("--min-wait", "500ms"), ["a"]),
    ],
)
async def test_the_queue_is_filtered_by_the_server(live: Running, words: tuple[str, ...], found: list[str]) -> None:
    await worker(live, "w1", slots=1)
    await live.assign("runs")
    await enqueue(live, "a", tenant="x")
    await enqueue(live, "gpu", required_capabilities=["gpu"])
    told = (await ctl(live, "queue", "-o", "json", *words)).json()
    assert [each["task"]["task_id"] for each in told["tasks"]] == found
    assert told["total_size"] == len(found)


async def test_a_queue_in_which_nothing_matches_says_so(live: Running) -> None:
    await enqueue(live, "a")
    assert "no waiting tasks match" in (await ctl(live, "queue", "--tenant", "y")).out
