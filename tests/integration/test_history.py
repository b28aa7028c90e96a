"""What a real server with real workers did is in its log, and what it answers is what happened; also after a kill."""

import asyncio
import json
import random
import re
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from scheduler_api.v1 import admin_service_pb2 as api
from scheduler_api.v1 import task_pb2
from scheduler_server.client import OutcomeStatus, Task
from tests.bad_network import BadNetwork
from tests.clickhouse_server import ClickHouse, clickhouse
from tests.integration.processes import PLAIN_ENVIRONMENT, House, Load, Server, eventually, free_port, nap, until

QUICK: dict[str, Any] = {"history_flush_interval_s": 0.05, "predictor_default_ms": 300}


async def asked(server: Server, method: str, **fields: Any) -> Any:
    """A method of AdminService."""
    request = getattr(api, f"{method}Request")(**fields)
    return await server.client.call(getattr(server.client.admin, method), request)


async def store(server: Server) -> api.StoreStatus:
    """How the log is."""
    (found,) = [each for each in (await server.status()).stores if each.name == "decision_log"]
    return found


async def listed(server: Server, **wanted: Any) -> list[api.DecisionRecord]:
    """All decisions that a filter finds, newest first."""
    records: list[api.DecisionRecord] = []
    token = ""
    while True:
        page = await asked(server, "ListDecisions", page_size=200, page_token=token, **wanted)
        records += page.records
        token = page.next_page_token
        if not token:
            return records


async def written(server: Server) -> api.StoreStatus:
    """Wait until nothing waits to be written."""

    async def nothing_waits() -> bool:
        found = await store(server)
        return bool(found.written) and not found.pending

    await eventually(nothing_waits, "all is written")
    return await store(server)


def rows(file: Path) -> dict[str, tuple[str, int]]:
    """Decisions in a SQLite log by their id: the task, and how often it is there."""
    connection = sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)
    try:
        found = connection.execute("SELECT decision_id, task_id, count(*) FROM decisions GROUP BY 1, 2").fetchall()
    finally:
        connection.close()
    return {decision_id: (task_id, count) for decision_id, task_id, count in found}


def schedctl(server: Server, *words: str) -> str:
    """What the command prints."""
    command = [sys.executable, "-m", "scheduler_server.schedctl", *words, "--server", server.address]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True, env=PLAIN_ENVIRONMENT)
    return ran.stdout


async def test_every_decision_is_answered_as_it_really_happened(house: House) -> None:
    server = await house.server(assignment_ended_kept=1, **QUICK)
    workers = await house.workers(server, "a", "b", slots=2)
    chance = random.Random(1)
    tasks = [nap(f"t{number}", chance.uniform(0.02, 0.2)) for number in range(11)]
    tasks.append(nap("t11", 2.0))  # it ends last, and what ended last is all that is kept
    placed = {}
    for task in tasks:
        placed[task.task_id] = await server.hand_over(task)
    ended = await server.finished(tasks[-1])
    await eventually(lambda: _all_over(server, len(tasks)), "all are over")
    ran = {task_id: worker.worker_id for worker in workers for task_id, _ in worker.ended_tasks()}
    records = {record.decision.task.task_id: record for record in await listed(server)}
    assert sorted(records) == sorted(task.task_id for task in tasks)
    for task in tasks:
        record = records[task.task_id]
        assert record.decision.worker_id == ran[task.task_id] == placed[task.task_id].worker_id
        assert record.outcome.status == task_pb2.OUTCOME_STATUS_SUCCEEDED
        slept = json.loads(task.payload)["s"]
        assert slept <= record.actual_duration.ToNanoseconds() / 1e9 < slept + 5.0
        one = await asked(server, "GetDecision", task=task_pb2.TaskKey(task_id=task.task_id))
        assert one.record.decision.decision_id == record.decision.decision_id
        assert f"to worker {ran[task.task_id]}" in one.text
        assert "came of it: succeeded after" in one.text
    assert ended[tasks[-1].task_id].worker_id == ran[tasks[-1].task_id]
    told = json.loads(schedctl(server, "decisions", "--outcome", "succeeded", "--limit", "100", "-o", "json"))
    assert {each["decision"]["task"]["task_id"] for each in told["records"]} == set(ran)
    # The ledger keeps one that has ended; the others are known from the log alone.
    said = schedctl(server, "task", "t0")
    assert "from the decision log" in said
    assert ran["t0"] in said
    utilization = await asked(server, "GetUtilization", range=api.TimeRange())
    assert (utilization.overall.completed, utilization.overall.failed) == (len(tasks), 0)
    accuracy = await asked(server, "GetAccuracy", range=api.TimeRange())
    assert accuracy.overall.sample_count == len(tasks)
    assert await server.terminate() == 0
    assert not (house.folder / "state" / "decisions.open").exists()


async def _all_over(server: Server, count: int) -> bool:
    over = await listed(server, outcomes=[task_pb2.OUTCOME_STATUS_SUCCEEDED])
    return len(over) == count


async def test_after_kill_minus_nine_the_log_has_all_but_the_last_moment_and_nothing_twice(house: House) -> None:
    port = free_port()
    server = await house.server(port=port, **QUICK)
    await house.workers(server, "a", "b", slots=3)
    load = Load("load", lambda: random.uniform(0.05, 3.0), 0.01)
    offering = asyncio.create_task(load.run(server.client))
    await until(lambda: len(load.placed) >= 30 or offering.done(), "30 tasks are placed")
    assert not offering.done()
    durable = {placement.decision_id for _, placement, _ in load.placed.values()}

    async def there() -> bool:
        return durable <= {record.decision.decision_id for record in await listed(server)}

    await eventually(there, "they are in the log")
    server.signal(signal.SIGKILL)
    await server.ended()
    offering.cancel()
    again = await house.server(port=port, **QUICK)
    await again.connected("a", "b")

    async def told() -> bool:
        return any("the run before was killed" in each for each in (await store(again)).warnings)

    await eventually(told, "the kill is told")
    await written(again)
    found = rows(house.folder / "state" / "decisions.sqlite")
    assert durable <= set(found)
    assert {count for _, count in found.values()} == {1}
    leases = [lease for name in ("a", "b") for lease in (await asked(again, "GetWorker", worker_id=name)).worker.leases]
    for lease in leases:  # what came back from the journal is in the log, whenever it was decided
        assert (await asked(again, "GetDecision", lease_id=lease.lease_id)).record.decision.decision_id in found
    for record in await listed(again):
        assert record.decision.server_incarnation in record.decision.decision_id


@pytest.mark.parametrize("trouble", ["corrupt", "newer", "foreign", "locked"])
async def test_a_log_file_that_cannot_be_used_stops_nothing(house: House, trouble: str) -> None:
    folder = house.folder / "state"
    folder.mkdir()
    file = folder / "decisions.sqlite"
    held = None
    if trouble == "corrupt":
        file.write_bytes(b"this is no database, and long enough to be looked at" * 100)
    else:
        held = sqlite3.connect(file, isolation_level=None)
        held.execute("CREATE TABLE somebody_elses (x)")
        if trouble == "newer":
            held.execute("PRAGMA application_id = 1396919345")  # "SCL1"
            held.execute("PRAGMA user_version = 99")
        if trouble == "locked":
            held.execute("DROP TABLE somebody_elses")
            held.execute("BEGIN EXCLUSIVE")
    server = await house.server(**QUICK)
    await house.workers(server, "a")
    task = nap("t", 0.05)
    await server.hand_over(task)
    await server.finished(task)
    if trouble == "corrupt":
        found = await written(server)
        assert found.state == api.STORE_STATE_OK
        assert any("set aside" in each for each in found.warnings)
        assert (folder / "decisions.sqlite.damaged").exists()
        return

    async def unavailable() -> bool:
        return (await store(server)).state == api.STORE_STATE_UNAVAILABLE

    await eventually(unavailable, "the log is told to be unavailable")
    said = (await store(server)).last_error
    assert {"newer": "has version 99", "foreign": "no decision log", "locked": "is locked"}[trouble] in said
    assert held is not None
    if trouble == "locked":
        held.execute("COMMIT")
        held.close()
        assert (await written(server)).state == api.STORE_STATE_OK
        assert [record.decision.task.task_id for record in await listed(server)] == ["t"]
        return
    held.close()
    server.signal(signal.SIGKILL)
    await server.ended()
    assert sqlite3.connect(file).execute("SELECT count(*) FROM somebody_elses").fetchone() == (0,)  # left as it is


# ------------------------------------------------------------------ ClickHouse


@pytest.fixture(scope="module")
def click(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with clickhouse(tmp_path_factory.mktemp("clickhouse")) as started:
        yield started


async def test_clickhouse_that_is_down_at_the_start_is_written_to_once_it_is_there(
    house: House, click: ClickHouse
) -> None:
    with click.database() as database:
        async with BadNetwork("127.0.0.1:1") as nobody:
            host, _, port = nobody.address.rpartition(":")
            address = click.address(database)
            url = f"clickhouse://{address.user}:{address.password}@{host}:{port}/{database}"
            server = await house.server(
                history_url=url, history_max_pending=1_000, metrics_listen="127.0.0.1:0", **QUICK
            )

            async def unavailable() -> bool:
                return (await store(server)).state == api.STORE_STATE_UNAVAILABLE

            await eventually(unavailable, "ClickHouse is not there")
            found = await store(server)
            assert found.backend == "clickhouse"
            assert found.last_error.startswith("decision log clickhouse://")
            assert address.password == "" or address.password not in found.location + found.last_error
            await house.workers(server, "a", slots=5)
            await _place(server, range(700))  # with their outcomes more than may wait
            full = await store(server)
            assert full.dropped > 0
            nobody._target = click.address(database).hosts[0]
            done = await written(server)
        rows_in, different = _in_clickhouse(click, database)
        by_table = {name: await _history_metric(server, name) for name in ("written", "dropped")}
        assert different == rows_in["decisions"]
        for table in ("decisions", "outcomes"):
            assert rows_in[table] == by_table["written"][table]
            assert by_table["written"][table] + by_table["dropped"][table] == 700
        assert sum(rows_in.values()) == sum(by_table["written"].values()) == done.written
        assert sum(by_table["dropped"].values()) == done.dropped
        assert done.state == api.STORE_STATE_DEGRADED  # it works, and lacks what was dropped


@pytest.mark.parametrize("trouble", ["stalls", "dies"])
async def test_clickhouse_that_stalls_or_dies_in_between_loses_and_doubles_nothing(
    house: House, click: ClickHouse, trouble: str
) -> None:
    if click.given:
        pytest.skip("a server that is given is not stopped")
    with click.database() as database:
        address = click.address(database)
        host, port = address.hosts[0]
        server = await house.server(
            history_url=f"clickhouse://{host}:{port}/{database}",
            history_timeout_s=1.0,
            metrics_listen="127.0.0.1:0",
            **QUICK,
        )
        await house.workers(server, "a", slots=50)
        await _place(server, range(50))
        await written(server)
        click.signal(signal.SIGSTOP) if trouble == "stalls" else click.stop()
        try:
            await _place(server, range(50, 150))

            async def unavailable() -> bool:
                found = await store(server)
                return found.state == api.STORE_STATE_UNAVAILABLE and found.pending >= 150

            await eventually(unavailable, "the log is told to be unavailable, and what happens meanwhile waits")
        finally:
            click.signal(signal.SIGCONT) if trouble == "stalls" else click.start()
            house._before.add(click.pid)  # it is the module's, and stays
        assert (await written(server)).dropped == 0
        rows_in, different = _in_clickhouse(click, database)
        assert (rows_in["decisions"], different, rows_in["outcomes"]) == (150, 150, 150)
        assert {record.decision.task.task_id for record in await listed(server)} == {f"t{at}" for at in range(150)}


async def _place(server: Server, numbers: range) -> None:
    """Tasks that their queue service delivers and reports; none may have to wait for the log."""
    for number in numbers:
        placement = await server.client.assign(Task(task_id=f"t{number}", task_type="x"), patience=20.0)
        await server.client.report_outcome(placement.lease_id, OutcomeStatus.SUCCEEDED, duration=0.005)


def _in_clickhouse(server: ClickHouse, database: str) -> tuple[dict[str, int], int]:
    """Rows by table, and different decisions."""
    client = server.client(database)
    try:
        tables = ("decisions", "outcomes", "events", "heartbeats")
        counts = {table: client.execute(f"SELECT count() FROM {table}")[0][0] for table in tables}  # noqa: S608 -- ours
        different: int = client.execute("SELECT uniqExact(decision_id) FROM decisions")[0][0]
    finally:
        client.disconnect()
    return counts, different


async def _history_metric(server: Server, name: str) -> dict[str, int]:
    """A counter of the log, by table."""
    (line,) = [each for each in server.lines if "metrics on" in each]
    text = await asyncio.to_thread(lambda: urlopen(line.rpartition(" ")[2], timeout=10).read().decode())  # noqa: S310 -- http
    found = re.findall(rf'scheduler_history_{name}_total{{table="(\w+)"}} ([0-9.e+]+)', text)
    return {table: int(float(value)) for table, value in found}
