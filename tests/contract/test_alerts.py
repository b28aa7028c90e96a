"""ListAlerts, and what alerts are elsewhere on the wire: events, status, metrics."""

import asyncio
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from scheduler_api.v1 import admin_service_pb2 as admin
from scheduler_api.v1 import admin_service_pb2_grpc
from scheduler_api.v1 import schedule_service_pb2 as api
from scheduler_server.alerts.rules import BY_NAME, RULES
from scheduler_server.alerts.settings import AlertSettings
from scheduler_server.model.fleet_event import FleetEventKind
from scheduler_server.rpc.server import ServerSettings
from scheduler_server.settings import Settings, StorageSettings
from scheduler_server.telemetry.settings import MetricsSettings
from tests.contract.server import DEADLINE_S, WALL_S, Problem, Running, refused, running, settings, task, until

QUIET = AlertSettings(interval_s=0, for_s={"sustained_high_load": 20.0, "worker_overloaded": 20.0}, clear_after_s=5.0)
"""The test looks; and all is over before workers that say nothing are taken for unhealthy (30 s)."""


@asynccontextmanager
async def alarmed(alerts: AlertSettings = QUIET, **parts: Any) -> AsyncIterator[Running]:
    async with running(settings(alerts=alerts, **parts)) as server:
        yield server


@pytest.fixture
async def quiet() -> AsyncIterator[Running]:
    async with alarmed() as server:
        yield server


async def look(server: Running, after: float = 0.0) -> None:
    server.clock.monotonic += after
    server.clock.wall += after
    assert server.app.lookout is not None
    await server.app.lookout.look()


def stub(server: Running) -> "admin_service_pb2_grpc.AdminServiceAsyncStub":
    return admin_service_pb2_grpc.AdminServiceStub(server.channel)


async def listed(server: Running, **request: Any) -> admin.ListAlertsResponse:
    return await stub(server).ListAlerts(admin.ListAlertsRequest(**request), timeout=DEADLINE_S)


async def named(server: Running, **request: Any) -> list[tuple[str, str]]:
    """Rule and state of each."""
    return [
        (each.rule, admin.AlertState.Name(each.state).removeprefix("ALERT_STATE_"))
        for each in (await listed(server, **request)).alerts
    ]


async def problem(server: Running, **request: Any) -> Problem:
    return await refused(stub(server).ListAlerts(admin.ListAlertsRequest(**request), timeout=DEADLINE_S))


async def loaded(server: Running) -> None:
    """A worker whose only slot is taken, and a task that waits."""
    await server.worker("w", registration={"max_concurrent_tasks": 1, "reports_outcomes": True})
    await server.assign("t1")
    await server.stub.Assign(api.AssignRequest(task=task("t2"), enqueue=api.Enqueue()), timeout=DEADLINE_S)


# ---------------------------------------------------------------------- the list


async def test_an_alert_is_listed_from_its_first_sign_to_its_end_with_all_that_is_known(quiet: Running) -> None:
    await loaded(quiet)
    await look(quiet)
    [first] = (await listed(quiet, rule="sustained_high_load")).alerts
    assert first.state == admin.ALERT_STATE_PENDING
    assert not first.HasField("raised_at")
    await look(quiet, after=20.0)
    [alert] = (await listed(quiet, rule="sustained_high_load")).alerts
    rule = BY_NAME["sustained_high_load"]
    assert alert.alert_id == first.alert_id
    assert (alert.state, alert.severity, alert.subject_id) == (admin.ALERT_STATE_RAISED, admin.SEVERITY_WARNING, "")
    assert (alert.value, alert.threshold, alert.clear_threshold, alert.unit) == (1.0, 0.9, 0.8, "ratio")
    assert (alert.since.seconds, alert.raised_at.seconds) == (int(WALL_S), int(WALL_S) + 20)
    assert not alert.HasField("cleared_at")
    assert alert.detail == "1 of 1 slots of active workers are taken"
    assert alert.advice == rule.advice
    await quiet.cancel("t2")
    await quiet.cancel("t1")
    await look(quiet, after=1.0)
    await look(quiet, after=5.0)
    assert await named(quiet, rule="sustained_high_load") == []
    [over] = (await listed(quiet, rule="sustained_high_load", states=[admin.ALERT_STATE_CLEARED])).alerts
    assert (over.alert_id, over.cleared_at.seconds) == (first.alert_id, int(WALL_S) + 26)


async def test_without_states_the_list_has_pending_and_raised_ones_raised_first_then_newest(quiet: Running) -> None:
    await look(quiet)
    assert await named(quiet) == []
    await loaded(quiet)
    await look(quiet)
    await look(quiet, after=20.0)  # the load is raised; the wait is first seen
    await quiet.worker("idle", registration={"max_concurrent_tasks": 1})
    stream = await quiet.worker("gone", registration={"max_concurrent_tasks": 1})
    await stream.lose()
    await quiet.gone("gone")
    await look(quiet, after=1.0)
    got = await named(quiet)
    assert got[0] == ("sustained_high_load", "RAISED")
    assert {rule for rule, state in got[1:] if state == "PENDING"} == {rule for rule, _ in got[1:]}
    newest = [alert.since.ToNanoseconds() for alert in (await listed(quiet)).alerts if alert.state == 1]
    assert newest == sorted(newest, reverse=True)
    assert await named(quiet, states=[admin.ALERT_STATE_RAISED]) == [("sustained_high_load", "RAISED")]
    assert await named(quiet, min_severity=admin.SEVERITY_CRITICAL) == []
    assert await named(quiet, min_severity=admin.SEVERITY_WARNING) == got
    assert ("workers_unhealthy", "PENDING") in got
    assert await named(quiet, rule="workers_unhealthy") == [("workers_unhealthy", "PENDING")]


@pytest.mark.parametrize(("start", "end", "found"), [
    (0, None, True), (10, None, True), (11, None, False), (None, 10, False), (None, 11, True), (10, 11, True),
    (None, None, True),
])  # fmt: skip
async def test_a_range_is_of_when_they_were_raised_its_end_excluded(
    start: int | None, end: int | None, found: bool
) -> None:
    async with alarmed(AlertSettings(interval_s=0, for_s={"sustained_high_load": 0.0})) as server:
        await loaded(server)
        await look(server, after=10.0)
        span = admin.TimeRange()
        if start is not None:
            span.start.seconds = int(WALL_S) + start
        if end is not None:
            span.end.seconds = int(WALL_S) + end
        got = await named(server, range=span)
        # Signs that are not raised have no such instant.
        assert got == [("sustained_high_load", "RAISED")] * found
        assert await named(server, range=span, states=[admin.ALERT_STATE_PENDING]) == []


async def many(server: Running, count: int) -> None:
    for number in range(count):
        await server.worker(f"w{number:03}", cpu_usage=0.95, memory_usage=0.95)
    await look(server)


async def test_pages_go_on_where_the_last_ended_each_alert_once() -> None:
    async with alarmed(AlertSettings(interval_s=0, for_s={"worker_overloaded": 0.0})) as server:
        await many(server, 7)
        whole = [alert.alert_id for alert in (await listed(server)).alerts]
        seen, token, pages = [], "", 0
        while True:
            page = await listed(server, page_size=3, page_token=token)
            seen += [alert.alert_id for alert in page.alerts]
            pages += 1
            assert len(page.alerts) <= 3
            token = page.next_page_token
            if not token:
                break
        assert seen == whole
        assert len(set(seen)) == len(seen) == 7
        assert pages == 3
        assert not (await listed(server, page_size=7)).next_page_token
        assert (await problem(server, page_token=token + "x")).reason == "PAGE_TOKEN_INVALID"
        first = (await listed(server, page_size=3)).next_page_token
        assert (await problem(server, page_token=first, rule="drift")).reason == "PAGE_TOKEN_INVALID"
        assert (await problem(server, page_token=first[:-2])).reason == "PAGE_TOKEN_INVALID"


@pytest.mark.parametrize(
    ("request_", "field", "said"),
    [
        ({"states": [1, 0]}, "states[1]", "has no meaning in AlertState (got 0)"),
        ({"states": [4]}, "states[0]", "has no meaning in AlertState (got 4)"),
        ({"min_severity": 4}, "min_severity", "has no meaning in Severity (got 4)"),
        ({"rule": "drit"}, "rule", "'drit' is no rule; there are drift"),
        ({"rule": "zzzz"}, "rule", "'zzzz' is no rule; there are sustained_high_load, "),
        ({"rule": "a\nb"}, "rule", "has the control character U+000A at position 1"),
        ({"page_size": 1_001}, "page_size", "must be between 0 and 1,000 (got 1,001)"),
        (
            {"range": admin.TimeRange(start=Timestamp(seconds=5), end=Timestamp(seconds=5))},
            "range.end",
            "must be after range.start",
        ),
        (
            {"range": admin.TimeRange(start=Timestamp(seconds=5), end=Timestamp(seconds=4))},
            "range.end",
            "must be after range.start",
        ),
        ({"range": admin.TimeRange(start=Timestamp(seconds=2**40))}, "range.start", "is not a valid Timestamp"),
    ],
)
async def test_a_filter_that_is_malformed_is_named(
    quiet: Running, request_: dict[str, Any], field: str, said: str
) -> None:
    got = await problem(quiet, **request_)
    assert (got.code, got.fields) == ("INVALID_ARGUMENT", [field])
    assert got.descriptions[0].startswith(said)


async def test_every_rule_can_be_asked_for_also_one_that_is_off() -> None:
    async with alarmed(AlertSettings(interval_s=0, off=("drift",))) as server:
        for rule in RULES:
            assert await named(server, rule=rule.name) == []
        assert "list_alerts" in (await stub(server).GetStatus(admin.GetStatusRequest())).features


async def test_a_rule_that_is_off_is_never_seen() -> None:
    async with alarmed(AlertSettings(interval_s=0, off=("sustained_high_load",))) as server:
        await loaded(server)
        await look(server)
        await look(server, after=1_000.0)
        assert server.app.alerts.rules.keys() == BY_NAME.keys() - {"sustained_high_load"}
        assert await named(server, rule="sustained_high_load") == []


# ---------------------------------------------------------------------- elsewhere


async def test_an_alert_is_told_as_events_with_its_id_and_severity(quiet: Running) -> None:
    await many(quiet, 1)
    await look(quiet, after=20.0)
    [alert] = (await listed(quiet, rule="worker_overloaded")).alerts
    watch: Any = stub(quiet).WatchEvents(
        admin.WatchEventsRequest(kinds=[admin.EVENT_KIND_ALERT_RAISED, admin.EVENT_KIND_ALERT_CLEARED], replay_last=9)
    )
    raised = (await asyncio.wait_for(watch.read(), DEADLINE_S)).event
    assert (raised.kind, raised.subject_id, raised.worker_id) == (
        admin.EVENT_KIND_ALERT_RAISED, alert.alert_id, "w000",
    )  # fmt: skip
    assert raised.severity == alert.severity
    assert raised.detail == "alert raised: worker_overloaded of 'w000': " + alert.detail
    await look(quiet, after=1.0)
    core = quiet.core
    core.fleet.records["w000"].load = 0.1
    await look(quiet, after=1.0)
    await look(quiet, after=5.0)
    cleared = (await asyncio.wait_for(watch.read(), DEADLINE_S)).event
    assert (cleared.kind, cleared.subject_id, cleared.severity) == (
        admin.EVENT_KIND_ALERT_CLEARED, alert.alert_id, admin.SEVERITY_INFO,
    )  # fmt: skip
    watch.cancel()
    sequence = [event.sequence for event in quiet.app.shell.events.entries]
    assert sequence == list(range(1, len(sequence) + 1)), "numbers have no gap"


async def test_the_status_counts_what_is_raised_and_names_it_as_degraded(quiet: Running) -> None:
    await loaded(quiet)
    await look(quiet)
    told = await stub(quiet).GetStatus(admin.GetStatusRequest())
    assert (told.raised_alerts, list(told.degraded)) == (0, [])
    await look(quiet, after=20.0)
    told = await stub(quiet).GetStatus(admin.GetStatusRequest())
    assert told.raised_alerts == 1
    [part] = told.degraded
    assert (part.name, part.since.seconds) == ("alert.sustained_high_load", int(WALL_S))
    assert part.detail == "1 of 1 slots of active workers are taken"
    assert part.consequence


async def test_many_alerts_of_a_rule_are_one_degraded_part() -> None:
    async with alarmed(AlertSettings(interval_s=0, for_s={"worker_overloaded": 0.0})) as server:
        await many(server, 3)
        told = await stub(server).GetStatus(admin.GetStatusRequest())
        assert told.raised_alerts == 3
        [part] = told.degraded
        assert part.detail == "worker 'w000' reports a load of 0.95, and 2 more"


async def test_what_the_status_names_anyway_is_counted_and_not_named_twice(quiet: Running) -> None:
    for _ in range(3):
        quiet.core.breaker.failed("resize", quiet.clock.monotonic)
    await look(quiet)
    told = await stub(quiet).GetStatus(admin.GetStatusRequest())
    assert told.raised_alerts == 2
    assert [part.name for part in told.degraded] == ["breaker", "breaker.resize"]


async def test_metrics_count_them_by_rule_severity_and_state_and_those_that_are_not_there_as_0() -> None:
    async with alarmed(metrics=MetricsSettings(listen="127.0.0.1:0")) as server:
        await loaded(server)
        await look(server)
        await look(server, after=19.0)
        await look(server, after=1.0)

        def fetch() -> str:
            with urllib.request.urlopen(server.app.metrics_url, timeout=DEADLINE_S) as answer:  # noqa: S310 -- ours
                text: str = answer.read().decode()
                return text

        lines = (await asyncio.to_thread(fetch)).splitlines()
        found = [line for line in lines if line.startswith("scheduler_alerts{")]
        assert len(found) == 2 * len(RULES)
        assert [line for line in found if not line.endswith(" 0.0")] == [
            'scheduler_alerts{rule="sustained_high_load",severity="warning",state="raised"} 1.0'
        ]


async def test_a_look_that_fails_is_told_and_the_next_one_is_made(caplog: pytest.LogCaptureFixture) -> None:
    async with alarmed(AlertSettings(interval_s=0.01)) as server:
        figures = server.core.accuracy.overall
        looks = 0

        def fails() -> Any:
            nonlocal looks
            looks += 1
            if looks == 1:
                raise RuntimeError("no figures")
            return figures()

        server.core.accuracy.overall = fails  # type: ignore[method-assign] # fails once
        await until(lambda: looks >= 4, "it looks again")
    assert sum("the alerts could not be looked at" in record.message for record in caplog.records) == 1


async def test_what_was_raised_survives_a_restart_under_its_id(tmp_path: Path) -> None:
    def configured() -> Settings:
        return Settings(
            server=ServerSettings(listen="127.0.0.1:0"),
            storage=StorageSettings(state_folder=str(tmp_path)),
            alerts=QUIET,
        )

    async with running(configured()) as server:
        for _ in range(3):
            server.core.breaker.failed("resize", server.clock.monotonic)
        await look(server)
        before = (await listed(server)).alerts
        assert [alert.rule for alert in before] == ["breaker_open", "type_breaker_open"]
    async with running(configured()) as server:
        assert server.app.stores.snapshots is not None
        assert server.app.stores.snapshots.warnings == []
        await look(server)
        after = (await listed(server)).alerts
        assert [alert.alert_id for alert in after] == [alert.alert_id for alert in before]
        assert server.told(FleetEventKind.ALERT_RAISED) == []
