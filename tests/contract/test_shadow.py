"""GetShadowReport over the wire, its metrics, its settings, and `schedctl shadow`."""

import contextlib
import json
import shlex
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from scheduler_api.v1 import admin_service_pb2 as admin
from scheduler_api.v1 import admin_service_pb2_grpc, worker_pb2
from scheduler_server.history.history import HistoryUnavailable
from scheduler_server.rpc.measured import sources
from scheduler_server.rpc.server import ServerSettings
from scheduler_server.settings import Settings, StorageSettings
from scheduler_server.shadow.settings import ShadowSettings
from scheduler_server.telemetry.readings import READERS
from scheduler_server.telemetry.sources import Moment
from tests.contract.server import DEADLINE_S, WALL_S, Clock, Running, refused, running, settings, until
from tests.contract.test_config import update
from tests.contract.test_schedctl import ctl

TRACKED = worker_pb2.WorkerRegistration(max_concurrent_tasks=2, reports_outcomes=True)
PAGE = Path(__file__).parents[2] / "docs" / "shadow.md"

THREE = ("round_robin", "earliest_finish", "caller")


def shadowed(*policies: str) -> Settings:
    return settings(shadow=ShadowSettings(policies=policies))


def kept_in(folder: Path, *policies: str, kept: int = 20_000) -> Settings:
    return Settings(
        storage=StorageSettings(state_folder=str(folder)),
        server=ServerSettings(listen="127.0.0.1:0"),
        shadow=ShadowSettings(policies=policies, kept=kept),
    )


async def report(live: Running, **fields: Any) -> admin.GetShadowReportResponse:
    """The report, once all that was decided has been looked at."""
    await until(lambda: not live.app.shadow.waiting and not live.app.shadow._ended, "the shadow has looked")
    stub = admin_service_pb2_grpc.AdminServiceStub(live.channel)
    answer: admin.GetShadowReportResponse = await stub.GetShadowReport(
        admin.GetShadowReportRequest(**fields), timeout=DEADLINE_S
    )
    return answer


async def two_workers(live: Running) -> None:
    for worker_id in ("a", "b"):
        await live.worker(worker_id, registration=TRACKED)


async def story(live: Running) -> None:
    """Four tasks of two types, one second apart; the callers would send all of them to the same worker."""
    await two_workers(live)
    leases = []
    for number in range(4):
        kind = "resize" if number % 2 else "encode"
        answer = await live.assign(f"t{number}", task_type=kind, caller_choice="a")
        leases.append(answer.decision.lease_id)
        await until(lambda: not live.app.shadow.waiting, "the shadow has looked")
        live.forward(1.0)
    for lease_id in leases:
        live.forward(1.0)
        await live.report(lease_id, duration={"seconds": 2})


async def test_every_policy_is_compared_and_judged() -> None:
    async with running(shadowed(*THREE)) as live:
        await story(live)
        answer = await report(live)
        assert [(each.policy, each.task_type) for each in answer.comparisons] == [(name, "") for name in THREE]
        by_name = {each.policy: each for each in answer.comparisons}
        caller = by_name["caller"]
        assert (caller.decisions, caller.judged_decisions, caller.failures) == (4, 4, 0)
        assert 0.0 < caller.agreement < 1.0
        assert caller.shadow_mean_wait.ToNanoseconds() >= caller.live_mean_wait.ToNanoseconds() == 0
        assert caller.shadow_mean_finish.ToNanoseconds() > 0
        assert caller.finish_difference.confidence_level == 0.95
        low, value, high = (getattr(caller.finish_difference, each) for each in ("low_ms", "value_ms", "high_ms"))
        assert low <= value <= high
        assert answer.range.start.ToSeconds() == WALL_S
        assert answer.range.end.ToSeconds() == WALL_S + 8
        assert list(answer.live.shadow_policies) == list(THREE)
        assert answer.live.scorer == live.core.scorer.name
        assert answer.dropped == 0
        assert [line.split(":")[0] for line in answer.text.splitlines()] == list(THREE)


async def test_by_task_type_there_is_a_line_for_each_and_together_they_are_all() -> None:
    async with running(shadowed("round_robin")) as live:
        await story(live)
        whole, *types = (await report(live, by_task_type=True)).comparisons
        assert (whole.task_type, whole.decisions) == ("", 4)
        assert [(each.task_type, each.decisions) for each in types] == [("encode", 2), ("resize", 2)]
        (one,) = (await report(live, by_task_type=True, task_type="resize")).comparisons
        assert (one.task_type, one.decisions) == ("resize", 2)


async def test_a_range_bounds_what_is_compared() -> None:
    async with running(shadowed("round_robin")) as live:
        await story(live)
        part: Any = {"start": {"seconds": int(WALL_S) + 1}, "end": {"seconds": int(WALL_S) + 3}}
        answer = await report(live, range=part)
        assert answer.comparisons[0].decisions == 2
        assert answer.range.start.ToSeconds() == WALL_S + 1
        assert answer.range.end.ToSeconds() == WALL_S + 3
        later: Any = {"start": {"seconds": int(WALL_S) + 4}}
        (none,) = (await report(live, range=later)).comparisons
        assert (none.decisions, none.HasField("agreement"), none.HasField("finish_difference")) == (0, False, False)


async def test_a_range_the_wrong_way_round_is_refused() -> None:
    async with running(shadowed("round_robin")) as live:
        back: Any = {"start": {"seconds": 2}, "end": {"seconds": 1}}
        told = await refused(report(live, range=back))
        assert (told.code, told.fields) == ("INVALID_ARGUMENT", ["range.end"])


@pytest.mark.parametrize(("policies", "there"), [((), "none does"), (("random",), "random")])
async def test_a_policy_that_is_not_tried_is_unknown(policies: tuple[str, ...], there: str) -> None:
    async with running(shadowed(*policies)) as live:
        told = await refused(report(live, policy="caller"))
        assert (told.code, told.reason) == ("NOT_FOUND", "SHADOW_UNKNOWN")
        assert there in told.message


async def test_without_policies_the_report_is_empty_and_says_how_to_change_that(live: Running) -> None:
    answer = await report(live)
    assert not answer.comparisons
    assert "shadow.policies" in answer.text
    assert not list(READERS["scheduler.shadow.dropped"](moment(live)))


def moment(live: Running) -> Moment:
    app = live.app
    return Moment(sources(app.shell, app.calls, app.streams, app.admin, app.stores, app.counted, app.connections))


async def test_the_metrics_count_what_came_of_each_decision() -> None:
    async with running(shadowed("caller", "round_robin")) as live:
        await two_workers(live)
        await live.assign("t1", caller_choice="nobody")
        await live.assign("t2")
        await report(live)
        counts = {labels: count for count, labels in READERS["scheduler.shadow.decisions"](moment(live))}
        assert counts["caller", "failed"] == 1
        assert counts["round_robin", "agreed"] + counts["round_robin", "differed"] == 2
        assert [count for count, _ in READERS["scheduler.shadow.dropped"](moment(live))] == [0]


async def test_policies_are_switched_on_and_off_while_it_runs(live: Running) -> None:
    await two_workers(live)
    await live.assign("t1")
    told = await update(live, {"shadow.policies": ["random"]})
    assert list(told.policy.shadow_policies) == ["random"]
    await live.assign("t2")
    assert [(each.policy, each.decisions) for each in (await report(live)).comparisons] == [("random", 1)]
    status = await admin_service_pb2_grpc.AdminServiceStub(live.channel).GetStatus(admin.GetStatusRequest())
    assert list(status.policy.shadow_policies) == ["random"]
    problem = await refused(update(live, {"shadow.policies": ["random", "p2c"]}))
    assert (problem.code, problem.fields) == ("INVALID_ARGUMENT", ["values[shadow.policies]"])
    assert "no policy 'p2c'" in problem.descriptions[0]
    await update(live, {"shadow.policies": []})
    assert not (await report(live)).comparisons


async def test_every_comparison_is_in_the_decision_log(tmp_path: Path) -> None:
    async with running(kept_in(tmp_path, "round_robin", "caller")) as live:
        await two_workers(live)
        decision = (await live.assign("t1", caller_choice="nobody")).decision
        await report(live)
    with contextlib.closing(sqlite3.connect(tmp_path / "decisions.sqlite")) as connection:
        rows = connection.execute("SELECT policy, decision_id, live_worker_id, error FROM shadow_decisions").fetchall()
    assert rows == [
        ("round_robin", decision.decision_id, decision.worker_id, ""),
        ("caller", decision.decision_id, decision.worker_id, "worker 'nobody' is not known"),
    ]


async def test_after_a_restart_the_report_goes_on_from_the_decision_log(tmp_path: Path) -> None:
    async with running(kept_in(tmp_path, "caller", "random")) as live:
        await story(live)
        before = (await report(live)).comparisons[0]
    later = Clock()
    later.wall += 100.0
    async with running(kept_in(tmp_path, "caller"), clock=later) as live:
        await until(lambda: live.app.shadow.rows("caller").types, "the log is read")
        (taken_back,) = (await report(live)).comparisons
        for field in ("decisions", "agreement", "judged_decisions", "shadow_mean_wait", "live_mean_finish"):
            assert getattr(taken_back, field) == getattr(before, field), field
        await live.worker("c", registration=TRACKED)
        await live.assign("more", caller_choice="c")
        assert (await report(live)).comparisons[0].decisions == 5


async def test_a_range_from_before_what_is_in_memory_is_read_from_the_log(tmp_path: Path) -> None:
    async with running(kept_in(tmp_path, "caller")) as live:
        await story(live)
        await report(live)
    later = Clock()
    later.wall += 100.0
    async with running(kept_in(tmp_path), clock=later) as live:
        await update(live, {"shadow.policies": ["caller"]})  # begins anew
        assert (await report(live)).comparisons[0].decisions == 0
        early: Any = {"start": {"seconds": int(WALL_S) + 1}}
        assert (await report(live, range=early)).comparisons[0].decisions == 3

        async def broken(_question: Any) -> Any:
            raise HistoryUnavailable("the disk is gone")

        live.app.stores.history.ask = broken  # type: ignore[union-attr, method-assign]
        told = await refused(report(live, range=early))
        assert (told.code, told.reason) == ("UNAVAILABLE", "STORE_UNAVAILABLE")
        assert (await report(live)).comparisons[0].decisions == 0  # what is in memory needs no store


async def test_the_question_of_the_page_is_answered_by_the_log(tmp_path: Path) -> None:
    question = PAGE.read_text().split("```sql")[1].split("```")[0]
    async with running(kept_in(tmp_path, "caller")) as live:
        await story(live)
        (told,) = (await report(live)).comparisons
    with contextlib.closing(sqlite3.connect(tmp_path / "decisions.sqlite")) as connection:
        ((policy, count, agreement, wait_ms, later_ms),) = connection.execute(question).fetchall()
    assert (policy, count, agreement) == ("caller", 4, told.agreement)
    assert wait_ms == pytest.approx((told.shadow_mean_wait.ToNanoseconds() - told.live_mean_wait.ToNanoseconds()) / 1e6)
    assert later_ms == pytest.approx(wait_ms, rel=0.2)  # both workers are as fast as each other, or nearly


async def test_schedctl_switches_policies_as_the_page_says(live: Running) -> None:
    commands = [line.strip() for line in PAGE.read_text().splitlines() if line.startswith("    schedctl config")]
    names = []
    for command in commands:
        assert (await ctl(live, *shlex.split(command)[1:])).code == 0
        names.append(live.app.shadow.names)
    assert names == [THREE, ()]


async def test_schedctl_shows_the_report() -> None:
    async with running(shadowed(*THREE)) as live:
        await story(live)
        await report(live)
        lines = (await ctl(live, "shadow", "--by-type")).out.splitlines()
        heads = next(line for line in lines if line.startswith("POLICY"))
        assert heads.split()[:4] == ["POLICY", "TYPE", "DECISIONS", "SAME"]
        assert any(line.split()[:3] == ["caller", "all", "4"] for line in lines)
        assert any(line.split()[:3] == ["caller", "resize", "2"] for line in lines)
        said = json.loads((await ctl(live, "shadow", "caller", "-o", "json")).out)
        assert [each["policy"] for each in said["comparisons"]] == ["caller"]
        unknown = await ctl(live, "shadow", "random")
        assert (unknown.code, "round_robin, earliest_finish, caller" in unknown.err) == (1, True)


async def test_schedctl_without_policies_says_how_there_would_be_some(live: Running) -> None:
    assert "shadow.policies" in (await ctl(live, "shadow")).out
