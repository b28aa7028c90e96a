"""`schedctl decisions`, and `schedctl task` of a task that only the log knows."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from scheduler_api.v1 import task_pb2, worker_pb2
from tests.contract.history import Historian, historian, kept
from tests.contract.server import running, settings, span
from tests.contract.test_schedctl import ctl


@pytest.fixture
async def asked(tmp_path: Path) -> AsyncIterator[Historian]:
    """Five tasks, the third of which failed and the last of which runs."""
    async with historian(kept(tmp_path)) as found:
        server = found.server
        await server.worker("w1", registration=worker_pb2.WorkerRegistration(reports_outcomes=True))
        for number in range(5):
            about = {"tenant": "acme"} if number == 1 else {}
            made = (await server.assign(f"t{number}", **about)).decision  # type: ignore[arg-type]
            server.forward(2.0)
            failed = number == 2
            status = task_pb2.OUTCOME_STATUS_FAILED if failed else task_pb2.OUTCOME_STATUS_SUCCEEDED
            if number < 4:
                await server.report(made.lease_id, status, duration=span(2.5), error_kind="disk" if failed else "")
        yield found


async def ids(asked: Historian, *words: str) -> list[str]:
    ran = await ctl(asked.server, "decisions", "-o", "json", *words)
    return [each["decision"]["task"]["task_id"] for each in ran.json()["records"]]


async def test_the_newest_decisions_come_first_with_what_came_of_them(asked: Historian) -> None:
    ran = await ctl(asked.server, "decisions")
    head, *lines = ran.out.splitlines()
    assert head.split() == [
        "DECIDED", "TASK", "TYPE", "WORKER", "HOW", "WAITED", "PREDICTED", "TOOK", "OFF", "OUTCOME",
    ]  # fmt: skip
    assert [line.split()[2] for line in lines] == ["t4", "t3", "t2", "acme/t1", "t0"]
    assert [line.split()[-1] for line in lines] == ["-", "succeeded", "failed", "succeeded", "succeeded"]
    assert "reasoning" not in ran.out
    wide = (await ctl(asked.server, "decisions", "-o", "wide")).out
    assert "weighted" in wide.splitlines()[1]


async def test_filters_choose_and_the_limit_is_over_pages(asked: Historian) -> None:
    assert await ids(asked, "--limit", "2") == ["t4", "t3"]
    assert await ids(asked, "--outcome", "failed") == ["t2"]
    assert await ids(asked, "--outcome", "failed", "--outcome", "succeeded", "--tenant", "") == ["t3", "t2", "t0"]
    assert await ids(asked, "--tenant", "acme") == ["t1"]
    assert await ids(asked, "--task", "t3") == ["t3"]
    assert await ids(asked, "--worker", "w2") == []
    assert await ids(asked, "--source", "fallback") == []
    assert await ids(asked, "--cause", "only-candidate", "--type", "resize", "--scorer", "weighted")
    assert await ids(asked, "--since", "5s") == ["t4", "t3"]  # by the server's clock
    assert await ids(asked, "--since", "9s", "--until", "5s") == ["t2", "t1"]
    assert (await ctl(asked.server, "decisions", "--worker", "w2")).out == "no decisions match\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--since", "5m", "--until", "5m"], "--until must be less long ago than --since"),
        (["-f", "--until", "5m"], "--until does not go with -f"),
        (["--outcome", "faild"], "did you mean failed?"),
        (["--limit", "0"], "must be a whole number from 1 to 1,000,000"),
        (["--since", "soon"], "must be a span such as"),
    ],
)
async def test_what_makes_no_sense_is_refused(asked: Historian, words: list[str], said: str) -> None:
    ran = await ctl(asked.server, "decisions", *words)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err


async def test_a_task_that_the_server_has_forgotten_is_told_from_the_log(asked: Historian) -> None:
    await asked.written()
    asked.forget_the_ledger()
    ran = await ctl(asked.server, "task", "t2")
    assert ran.code == 0, ran.err
    assert "from the decision log" in ran.out
    assert "failed" in ran.out
    told = json.loads((await ctl(asked.server, "task", "t0", "-o", "json")).out)
    assert told["outcome"]["status"] == "OUTCOME_STATUS_SUCCEEDED"
    assert (await ctl(asked.server, "task", "nobody")).code == 1


async def test_a_task_that_nobody_knows_is_refused_with_names_that_are_near(asked: Historian) -> None:
    ran = await ctl(asked.server, "task", "t33")
    assert (ran.code, ran.out) == (1, "")
    assert "task 't33' is not known, or no longer kept; known are t3; --tenant names its tenant" in ran.err
    ran = await ctl(asked.server, "task", "nobody", "--tenant", "x")
    assert ran.err.strip() == "schedctl: task 'nobody' is not known, or no longer kept"


async def test_a_task_that_is_known_says_what_came_of_its_decision(asked: Historian) -> None:
    out = (await ctl(asked.server, "task", "t3")).out
    assert "took            2.50s, predicted" in out
    assert "from the decision log" not in out
    assert "took" not in (await ctl(asked.server, "task", "t4")).out


async def test_without_a_log_it_says_why_there_is_nothing() -> None:
    async with running(settings()) as server:
        ran = await ctl(server, "decisions")
        assert ran.code == 1
        assert "no history is kept: history.url and storage.state_folder are empty" in ran.err


async def test_tab_offers_its_options_and_values(asked: Historian) -> None:
    ran = await ctl(asked.server, "completion", "candidates", "decisions", "--outcome", "s")
    assert ran.out.split() == ["succeeded"]
    assert "--since" in (await ctl(asked.server, "completion", "candidates", "decisions", "--s")).out.split()
