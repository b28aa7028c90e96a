"""Figures over time, the live hour, rates, audit entries, and what these refuse."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from scheduler_api.v1 import worker_pb2
from scheduler_server.history.settings import HistorySettings
from scheduler_server.storage.decision_log import Audited
from tests.contract.history import Historian, between, historian, instant, kept
from tests.contract.server import WALL_S, Running, Stream, refused, running, settings, span

SLOTS = 2


@pytest.fixture
async def asked(tmp_path: Path) -> AsyncIterator[Historian]:
    async with historian(kept(tmp_path)) as found:
        yield found


async def fleet(server: Running, count: int = 2) -> dict[str, Stream]:
    """Workers with two slots each."""
    slots = worker_pb2.WorkerRegistration(max_concurrent_tasks=SLOTS, reports_outcomes=True)
    return {name: await server.worker(name, registration=slots) for name in [f"w{at}" for at in range(count)]}


async def forward(asked: Historian, streams: dict[str, Stream], seconds: float) -> None:
    """Let time pass as it does: heartbeats, and a look every second."""
    for _ in range(int(seconds)):
        asked.server.forward(1.0)
        await asked.history.sampler.tick()
        if int(asked.server.clock.monotonic) % 10 == 0:
            for stream in streams.values():
                await stream.beat()


# ------------------------------------------------------------------ the live hour


async def test_the_live_hour_needs_no_log_and_is_up_to_this_moment() -> None:
    async with running(settings()) as server:
        asked = Historian(server)
        streams = await fleet(server)
        first = (await server.assign("a")).decision
        await forward(asked, streams, 30)
        await server.report(first.lease_id, duration=span(30.0))
        await forward(asked, streams, 60)
        answer = await asked.ask("GetUtilization", by_worker=True)
        fleet_row, *workers = answer.rows
        assert fleet_row == answer.overall
        # One of four slots was busy for 30 of 90 s: w0's share is a sixth, w1's nothing.
        assert fleet_row.utilization == pytest.approx(30 / 360, rel=1e-3)
        assert fleet_row.spread == pytest.approx(1.0)
        assert fleet_row.max_over_mean == pytest.approx(2.0)
        assert (fleet_row.completed, fleet_row.failed, fleet_row.mean_waiting) == (1, 0, 0.0)
        assert fleet_row.busy_time.ToNanoseconds() / 1e9 == pytest.approx(30.0, rel=1e-3)
        assert fleet_row.present_time.ToNanoseconds() / 1e9 == pytest.approx(360.0, rel=1e-3)
        assert fleet_row.range == between(WALL_S, WALL_S + 90.0)
        busy = {row.worker_id: row.utilization for row in workers}
        assert sorted(busy) == ["w0", "w1"]
        assert sorted(busy.values()) == [0.0, pytest.approx(1 / 6, rel=1e-3)]
        ran = next(row for row in workers if row.utilization)
        assert (ran.worker_id, ran.completed) == (first.worker_id, 1)


async def test_the_live_hour_by_minutes_pages_through_stretches_and_workers(asked: Historian) -> None:
    streams = await fleet(asked.server)
    await asked.server.assign("a")
    await forward(asked, streams, 150)
    every = (await asked.ask("GetUtilization", step=span(60.0), by_worker=True)).rows
    assert [(row.range.start.seconds - int(WALL_S), row.worker_id) for row in every] == [
        (at, name) for at in (0, 60, 120) for name in ("", "w0", "w1")
    ]
    found: list[Any] = []
    token = ""
    while True:
        answer = await asked.ask("GetUtilization", step=span(60.0), by_worker=True, page_size=2, page_token=token)
        found += answer.rows
        token = answer.next_page_token
        if not token:
            break
        assert len(answer.rows) == 2
    assert found == list(every)
    one = (await asked.ask("GetUtilization", step=span(120.0), worker_id="w1")).rows
    assert [(row.range.start.seconds - int(WALL_S), row.worker_id) for row in one] == [(0, "w1"), (120, "w1")]
    assert not (await asked.ask("GetUtilization", worker_id="nobody")).rows


async def test_waits_are_in_the_live_hour(asked: Historian) -> None:
    streams = await fleet(asked.server, 1)
    leases = [(await asked.server.assign(f"t{at}")).decision.lease_id for at in range(SLOTS)]
    from scheduler_api.v1 import schedule_service_pb2, task_pb2

    await asked.server.stub.Assign(
        schedule_service_pb2.AssignRequest(
            task=task_pb2.Task(task_id="waits", task_type="resize"), enqueue=schedule_service_pb2.Enqueue()
        )
    )
    await forward(asked, streams, 30)
    await asked.server.report(leases[0], duration=span(30.0))
    await forward(asked, streams, 30)
    overall = (await asked.ask("GetUtilization")).overall
    assert overall.mean_waiting == pytest.approx(0.5)
    assert overall.mean_wait == span(10.0)
    assert 30.0 <= overall.p99_wait.ToNanoseconds() / 1e9 <= 30.0 * 1.19


async def test_load_tells_rates_over_the_last_minute_and_the_spread_over_a_window(asked: Historian) -> None:
    streams = await fleet(asked.server)
    leases = [(await asked.server.assign(f"t{at}")).decision.lease_id for at in range(3)]
    await asked.server.report(leases[0], duration=span(1.0))
    await asked.server.report(leases[1], duration=span(1.0))
    await forward(asked, streams, 30)
    load = await asked.ask("GetLoad")
    assert load.decisions_per_second == pytest.approx(3 / 30)
    assert load.outcomes_per_second == pytest.approx(2 / 30)
    assert load.spread == pytest.approx(1.0)  # at this instant: one of four slots
    await asked.server.report(leases[2], duration=span(30.0))
    await forward(asked, streams, 70)
    load = await asked.ask("GetLoad", window=span(3_600.0))
    assert load.decisions_per_second == 0.0
    assert load.outcomes_per_second == 0.0
    assert load.spread == pytest.approx(1.0)  # over the window it was the same one
    assert load.max_over_mean == pytest.approx(2.0)
    nobody = await asked.ask("GetLoad", window=span(3_600.0), capabilities=["gpu"])
    assert not nobody.HasField("spread")


@pytest.mark.parametrize(("window_s", "refuses"), [(59.9, True), (60.0, False), (3_600.0, False), (3_600.1, True)])
async def test_the_window_of_the_load_has_bounds(asked: Historian, window_s: float, refuses: bool) -> None:
    if refuses:
        assert (await refused(asked.call("GetLoad", window=span(window_s)))).fields == ["window"]
    else:
        await asked.ask("GetLoad", window=span(window_s))


# ------------------------------------------------------------------ from the log


async def test_utilisation_from_the_log_is_what_the_live_hour_says(asked: Historian) -> None:
    streams = await fleet(asked.server)
    for at in range(3):
        await asked.server.assign(f"t{at}")
    await forward(asked, streams, 45)
    for record in list(asked.server.core.ledger.leases.values()):
        await asked.server.report(record.lease_id, duration=span(45.0))
    await forward(asked, streams, 195)
    live = (await asked.ask("GetUtilization", by_worker=True)).rows
    logged = (await asked.ask("GetUtilization", by_worker=True, range=between())).rows
    assert [row.worker_id for row in logged] == [row.worker_id for row in live] == ["", "w0", "w1"]
    for one, other in zip(logged, live, strict=True):
        # A sample is whole slots over a minute: what is left over is told with the next.
        assert one.utilization == pytest.approx(other.utilization, abs=0.5 * 60 / 240)
        assert (one.completed, one.failed) == (other.completed, other.failed)
    samples = (await asked.ask("GetUtilization", step=span(60.0), range=between(WALL_S))).rows
    assert [row.range.start.seconds - int(WALL_S) for row in samples] == [0, 60, 120, 180, 240][: len(samples)]


async def test_accuracy_from_the_log_by_type_and_predictor_and_over_time(asked: Historian) -> None:
    streams = await fleet(asked.server)
    for number, kind in enumerate(("resize", "encode", "resize")):
        made = (await asked.server.assign(f"t{number}", task_type=kind)).decision
        await forward(asked, streams, 50)
        await asked.server.report(made.lease_id, duration=span(5.0))
    whole = await asked.ask("GetAccuracy", range=between())
    assert whole.overall.sample_count == 3
    assert whole.overall.within_25_percent == 1.0
    assert [row.accuracy for row in whole.rows] == [whole.overall]
    by_type = await asked.ask("GetAccuracy", range=between(), by_task_type=True, by_predictor=True)
    assert [(row.task_type, row.predictor, row.accuracy.sample_count) for row in by_type.rows] == [
        ("", "", 3),
        ("encode", "adaptive", 1),
        ("resize", "adaptive", 2),
    ]
    by_minute = await asked.ask("GetAccuracy", range=between(WALL_S, WALL_S + 180.0), step=span(60.0))
    assert [(row.range.start.seconds - int(WALL_S), row.accuracy.sample_count) for row in by_minute.rows] == [
        (0, 1),
        (60, 1),
        (120, 1),
    ]
    first = await asked.ask("GetAccuracy", range=between(), by_task_type=True, page_size=1)
    again = await asked.ask(
        "GetAccuracy", range=between(), by_task_type=True, page_size=2, page_token=first.next_page_token
    )
    assert [row.task_type for row in (*first.rows, *again.rows)] == ["", "encode", "resize"]
    nothing = await asked.ask("GetAccuracy", range=between(WALL_S + 1e6))
    assert nothing.overall.sample_count == 0
    assert not nothing.rows


async def test_audit_entries_are_listed_newest_first_and_filtered(asked: Historian) -> None:
    put = asked.history.recorder.put
    assert put is not None
    for number, (author, method) in enumerate(
        (("eve", "CordonWorker"), ("bob", "RemoveWorker"), ("eve", "PauseQueue"))
    ):
        assert put(
            Audited(
                WALL_S + number,
                f"a-{number}",
                author,
                "admin",
                "127.0.0.1",
                method,
                f"w{number}",
                "why",
                "{}",
                "",
                0,
                "{}",
            )
        )
    every = await asked.ask("ListAuditEntries")
    assert [entry.entry_id for entry in every.entries] == ["a-2", "a-1", "a-0"]
    entry = every.entries[0]
    assert (entry.author, entry.method, entry.subject_id, entry.reason) == ("eve", "PauseQueue", "w2", "why")
    assert entry.at == instant(WALL_S + 2)
    assert [each.entry_id for each in (await asked.ask("ListAuditEntries", author="eve")).entries] == ["a-2", "a-0"]
    assert [each.entry_id for each in (await asked.ask("ListAuditEntries", method="RemoveWorker")).entries] == ["a-1"]
    assert [each.entry_id for each in (await asked.ask("ListAuditEntries", subject_id="w0")).entries] == ["a-0"]
    page = await asked.ask("ListAuditEntries", page_size=2)
    rest = await asked.ask("ListAuditEntries", page_size=2, page_token=page.next_page_token)
    assert [each.entry_id for each in (*page.entries, *rest.entries)] == ["a-2", "a-1", "a-0"]


# ------------------------------------------------------------------ refused


@pytest.mark.parametrize("method", ["GetAccuracy", "GetUtilization", "ListAuditEntries", "ListDecisions"])
async def test_a_reversed_range_is_refused(asked: Historian, method: str) -> None:
    problem = await refused(asked.call(method, range=between(2.0, 1.0)))
    assert (problem.code, problem.fields) == ("INVALID_ARGUMENT", ["range.end"])


@pytest.mark.parametrize("method", ["GetAccuracy", "GetUtilization"])
@pytest.mark.parametrize(("step_s", "field"), [(59.0, "step"), (90.0, "step"), (-60.0, "step"), (0.0, "step")])
async def test_a_step_is_whole_minutes(asked: Historian, method: str, step_s: float, field: str) -> None:
    problem = await refused(asked.call(method, range=between(), step=span(step_s)))
    assert (problem.code, problem.fields) == ("INVALID_ARGUMENT", [field])


@pytest.mark.parametrize("method", ["GetAccuracy", "GetUtilization"])
@pytest.mark.parametrize(("minutes", "refuses"), [(9_999, False), (10_000, False), (10_001, True)])
async def test_there_are_at_most_10_000_steps(asked: Historian, method: str, minutes: int, refuses: bool) -> None:
    call = asked.call(method, range=between(WALL_S - 60.0 * minutes, WALL_S), step=span(60.0))
    if refuses:
        problem = await refused(call)
        assert (problem.code, problem.reason) == ("INVALID_ARGUMENT", "TOO_MANY_STEPS")
        assert problem.metadata == {"field": "step", "steps": "10001", "limit": "10000"}
    else:
        await call


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("ListDecisions", {}),
        ("ListAuditEntries", {}),
        ("GetAccuracy", {"range": between()}),
        ("GetUtilization", {"range": between()}),
        ("LearnFromHistory", {}),
    ],
)
async def test_without_a_log_history_is_refused(method: str, fields: dict[str, Any]) -> None:
    async with running(settings()) as server:
        problem = await refused(Historian(server).call(method, **fields))
        assert (problem.code, problem.reason) == ("FAILED_PRECONDITION", "NO_HISTORY")
        assert problem.message == "no history is kept: history.url and storage.state_folder are empty"


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("ListDecisions", {}),
        ("ListAuditEntries", {}),
        ("GetAccuracy", {"range": between()}),
        ("GetUtilization", {"range": between()}),
        ("LearnFromHistory", {}),
        ("GetDecision", {"decision_id": "d-1"}),
    ],
)
async def test_a_log_that_cannot_be_read_is_unavailable_and_the_server_places_on(
    tmp_path: Path, method: str, fields: dict[str, Any]
) -> None:
    (tmp_path / "decisions.sqlite").mkdir()
    async with historian(kept(tmp_path)) as asked:
        await asked.server.worker()
        await asked.server.assign("t")
        problem = await refused(asked.call(method, **fields))
        assert (problem.code, problem.reason) == ("UNAVAILABLE", "STORE_UNAVAILABLE")
        assert problem.metadata == {"store": "decision_log"}
        status = await asked.ask("GetStatus")
        (store,) = [each for each in status.stores if each.name == "decision_log"]
        assert store.state == 3  # UNAVAILABLE
        assert store.last_error
        assert store.consecutive_failures >= 1
        (part,) = [each for each in status.degraded if each.name == "store.decision_log"]
        assert part.detail == store.last_error
        assert "tasks are placed as ever" in part.consequence
        assert (await asked.decision(task=_key("t"))).decision.task.task_id == "t"  # the ledger has it
        await asked.server.still_places("another")


def _key(task_id: str) -> Any:
    from tests.contract.history import task_key

    return task_key(task_id)


@pytest.mark.parametrize("size", [0, 1, 31])
def test_retention_by_size_has_a_least(size: int) -> None:
    found = list(HistorySettings(most_mib=size).faults())
    assert [field for field, _ in found] == ([] if not size else ["most_mib"])


def test_a_url_with_a_secret_is_refused_without_it() -> None:
    ((field, why),) = HistorySettings(url="clickhouse://me:secret@host:99999/db").faults()
    assert field == "url"
    assert "secret" not in why
