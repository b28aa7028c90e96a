"""A store of the decision log that is full, refuses, or dies in a batch, seen through the whole server.

The real server in process, its log written by the process that it starts for that. What was produced is counted by the
test: rows in the store and rows counted as dropped are all of it, exactly; no caller of Assign notices anything, and
the status says what is degraded. Stores that are down or stand still: test_history.py, and test_clickhouse_log.py for
the writer alone.
"""

import asyncio
import os
import resource
import signal
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from scheduler_api.v1 import admin_service_pb2 as api
from scheduler_api.v1 import worker_pb2
from scheduler_server.history.settings import HistorySettings
from scheduler_server.settings import Settings
from scheduler_server.storage.decision_log import DecisionLog, LogWriter, Retention
from scheduler_server.storage.decision_log.clickhouse_log import ClickHouseLog
from tests.clickhouse_server import ClickHouse, clickhouse
from tests.contract.history import Historian, kept
from tests.contract.server import refused, running, span

DEADLINE_S = 60.0
ROOM = 40
"""Entries that may wait here."""

MOST = 10_000
TABLES = ("decisions", "outcomes", "events", "heartbeats", "audit")
WITHOUT_DDL = "no_ddl"  # see clickhouse_front.py


def _hasty(log: DecisionLog, **options: Any) -> LogWriter:
    """A writer that does not wait long before it tries again."""
    return LogWriter(log, **{**options, "first_backoff_s": 0.02, "longest_backoff_s": 0.2})


class Producer:
    """A server that is asked to place, and what it must have produced for its log."""

    def __init__(self, asked: Historian) -> None:
        self.asked = asked
        self.tasks = self.audited = 0

    async def place(self, count: int) -> None:
        """Tasks, each with its outcome: two entries each. None of the calls may fail."""
        for _ in range(count):
            self.tasks += 1
            made = (await self.asked.server.assign(f"t{self.tasks}")).decision
            await self.asked.server.report(made.lease_id, duration=span(5.0))

    def produced(self) -> dict[str, int]:
        """Entries by their table."""
        events = len(self.asked.server.app.shell.events.entries)
        own = {"decisions": self.tasks, "outcomes": self.tasks, "audit": self.audited}
        return {**own, "events": events, "heartbeats": 0}

    async def broken(self, *said: str) -> None:
        """Wait until the log is told to be unavailable, and look at all that is told of it."""

        async def unavailable() -> bool:
            return (await self.asked.store()).state == api.STORE_STATE_UNAVAILABLE

        await eventually(unavailable, "the log is told to be unavailable")
        store = await self.asked.store()
        assert store.consecutive_failures
        for each in said:
            assert each in store.last_error
        parts = {part.name: part for part in (await self.asked.ask("GetStatus")).degraded}
        assert "tasks are placed as ever" in parts["store.decision_log"].consequence
        assert parts["store.decision_log"].detail

    async def complete(self, rows: Callable[[], dict[str, int]]) -> None:
        """Wait until nothing waits to be written; then all is in the store, or counted."""
        writer = self.asked.history.writer
        assert writer is not None
        assert await writer.flushed(DEADLINE_S)
        store = await self.asked.store()
        assert (store.pending, store.consecutive_failures) == (0, 0)
        found = rows()
        dropped = self.exactly(found)
        assert store.state == (api.STORE_STATE_DEGRADED if dropped else api.STORE_STATE_OK)
        assert (store.written, store.dropped) == (sum(found.values()), dropped)

    def exactly(self, rows: dict[str, int]) -> int:
        """Rows written and rows dropped are the rows produced; how many were dropped."""
        status = self.asked.history.status()
        assert status is not None
        written = {str(table): count for table, count in status.written_by_table.items() if table in TABLES}
        lost = {str(table): count for table, count in status.lost_by_table.items() if table in TABLES}
        assert rows == written
        assert {table: rows[table] + lost[table] for table in TABLES} == self.produced()
        return sum(lost.values())


@asynccontextmanager
async def producer(configured: Settings) -> AsyncIterator[Producer]:
    """A server with one large worker, its log written by the process that it starts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scheduler_server.history.history.LogWriter", _hasty)
        async with running(configured) as server:
            slots = worker_pb2.WorkerRegistration(max_concurrent_tasks=MOST, reports_outcomes=True)
            await server.worker("w", registration=slots)
            yield Producer(Historian(server))


def settings(folder: Path, **history: Any) -> Settings:
    """Little room, so that it is soon full."""
    return kept(folder, history=HistorySettings(flush_interval_s=0.02, max_pending=ROOM, **history))


async def eventually(condition: Callable[[], Any], what: str) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not await condition():  # noqa: ASYNC110 -- what is waited for is told by another process
            await asyncio.sleep(0.01)
    assert what


# ------------------------------------------------------------------ SQLite


def in_file(path: Path) -> Callable[[], dict[str, int]]:
    """Rows by table."""

    def count() -> dict[str, int]:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as reader:
            different = reader.execute("SELECT count(DISTINCT decision_id) FROM decisions").fetchone()[0]
            started = reader.execute("SELECT coalesce(sum(started), 0) FROM worker_minutes").fetchone()[0]
            rows = {table: reader.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in TABLES}  # noqa: S608 -- ours
        assert rows["decisions"] == different == started
        return rows

    return count


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of its own, which is soon full."""
    folder.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True, check=False
    )
    if mount.returncode:
        pytest.skip(f"needs the right to mount a file system: {mount.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def _fill(folder: Path) -> Path:
    """Take all the room there is."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4_096))
    return filler


async def test_a_full_disk_costs_what_finds_no_room_and_no_call(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "8m") as disk:
        async with producer(settings(disk)) as made:
            rows = in_file(disk / "decisions.sqlite")
            await made.place(10)
            await made.complete(rows)
            filler = _fill(disk)
            await made.place(2 * ROOM)
            await made.broken("has no room left", "decisions.sqlite")
            answer = await made.asked.ask("ListDecisions", page_size=1)  # what is there can be read all the while
            assert answer.records
            assert answer.dropped > 0
            filler.unlink()
            await made.complete(rows)
            await made.place(5)
            await made.complete(rows)
            assert (await made.asked.store()).dropped > 0


async def test_a_file_that_cannot_grow_costs_what_finds_no_room_and_no_call(tmp_path: Path) -> None:
    async with producer(settings(tmp_path)) as made:
        rows = in_file(tmp_path / "decisions.sqlite")
        await made.place(10)
        await made.complete(rows)
        status = made.asked.history.status()
        assert status is not None
        # Of the process that writes alone: the server's own files are none of its troubles.
        resource.prlimit(status.pid, resource.RLIMIT_FSIZE, (1_000, resource.RLIM_INFINITY))
        await made.place(2 * ROOM)
        await made.broken("decisions.sqlite")
        assert [part.name for part in (await made.asked.ask("GetStatus")).degraded] == ["store.decision_log"]
        resource.prlimit(status.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        await made.complete(rows)
        assert (await made.asked.store()).dropped > 0


async def test_a_writing_process_that_is_killed_in_a_batch_costs_nothing(tmp_path: Path) -> None:
    async with producer(settings(tmp_path)) as made:
        rows = in_file(tmp_path / "decisions.sqlite")
        writer = made.asked.history.writer
        assert writer is not None
        for _ in range(4):
            await made.place(ROOM // 4)
            with suppress(ProcessLookupError):
                os.kill(writer.status().pid or -1, signal.SIGKILL) if writer.status().pid else None
            await made.place(ROOM // 8)
            assert await writer.flushed(DEADLINE_S)
        await made.complete(rows)
        store = await made.asked.store()
        assert (store.dropped, store.written) == (0, sum(made.produced().values()))
        assert writer.status().restarts >= 1


async def test_what_the_end_cuts_off_is_counted_as_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scheduler_server.app._LAST_FLUSH_S", 0.3)
    path = tmp_path / "decisions.sqlite"
    async with producer(settings(tmp_path)) as made:
        await made.place(5)
        await made.complete(in_file(path))
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            await made.place(ROOM)
            await made.broken("is locked by another process")
            await made.asked.server.app.stop(0.0)
            other.execute("ROLLBACK")
    status = made.asked.history.status()
    assert status is not None
    assert status.abandoned > 0
    assert status.dropped_full > 0
    assert status.pending == 0
    made.exactly(in_file(path)())


@pytest.mark.parametrize("trouble", ["newer", "foreign", "locked"])
async def test_a_file_that_cannot_be_used_is_told_by_name_and_questions_are_refused(
    tmp_path: Path, trouble: str
) -> None:
    path = tmp_path / "decisions.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        if trouble == "newer":
            other.execute("PRAGMA application_id = 1396919345")  # "SCL1"
            other.execute("PRAGMA user_version = 99")
        other.execute("CREATE TABLE somebody_elses (x)")
        if trouble == "locked":
            other.execute("DROP TABLE somebody_elses")
            other.execute("BEGIN EXCLUSIVE")
        async with producer(settings(tmp_path)) as made:
            await made.place(ROOM)
            said = {"newer": "has version 99", "foreign": "no decision log of this server", "locked": "is locked"}
            await made.broken("decisions.sqlite", said[trouble])
            # A locked file is waited for, for a second each.
            for method in ("LearnFromHistory", *(["ListDecisions", "ListAuditEntries"] if trouble != "locked" else [])):
                problem = await refused(made.asked.call(method))
                assert (problem.code, problem.reason) == ("UNAVAILABLE", "STORE_UNAVAILABLE")
                assert "decisions.sqlite" in problem.message
            made.audited += 1  # who tried to teach the predictor
            made.asked.server.forward(1.0)  # the clock stands still otherwise
            assert (await made.asked.ask("GetUtilization")).overall.completed == ROOM  # the hour is known all the same
            if trouble == "locked":
                other.execute("ROLLBACK")
            else:
                path.unlink()
            await made.complete(in_file(path))  # a file that is moved away is begun anew


async def test_a_file_that_is_damaged_while_it_is_in_use_is_set_aside_and_told(tmp_path: Path) -> None:
    path = tmp_path / "decisions.sqlite"
    async with producer(settings(tmp_path)) as made:
        await made.place(10)
        await made.complete(in_file(path))
        status = made.asked.history.status()
        assert status is not None
        os.kill(status.pid, signal.SIGKILL)  # the next process opens it anew
        for side in (path, path.with_name(path.name + "-wal")):
            if side.exists():
                side.write_bytes(b"\x00damaged" * 5_000)
        before, lost = made.produced(), made.tasks
        await made.place(10)
        writer = made.asked.history.writer
        assert writer is not None
        assert await writer.flushed(DEADLINE_S)
        store = await made.asked.store()
        assert store.state == api.STORE_STATE_OK
        assert any("is corrupt" in each for each in store.warnings)
        assert any("set aside as decisions.sqlite.damaged" in each for each in store.warnings)
        rows = in_file(path)()
        assert rows["decisions"] == made.tasks - lost
        assert {table: rows[table] + before[table] for table in TABLES} == made.produced()
        assert await made.asked.ids(page_size=1) == [f"t{made.tasks}"]


# ------------------------------------------------------------------ ClickHouse


@pytest.fixture(scope="module")
def click(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    with clickhouse(tmp_path_factory.mktemp("clickhouse")) as started:
        yield started


@pytest.fixture
def database(click: ClickHouse) -> Iterator[str]:
    with click.database() as name:
        yield name


def url(click: ClickHouse, database: str, *, user: str = "", port: int = 0) -> str:
    address = click.address(database, "127.0.0.1" if port else "", port)
    host, number = address.hosts[0]
    return f"clickhouse://{user or address.user}:{address.password}@{host}:{number}/{database}"


def in_clickhouse(click: ClickHouse, database: str) -> Callable[[], dict[str, int]]:
    """Rows by table; the sums that its views make are of the same rows."""

    def count() -> dict[str, int]:
        with closing(_Client(click, database)) as asked:
            rows = {table: asked(f"SELECT count() FROM {table}") for table in TABLES}  # noqa: S608 -- ours
            assert rows["decisions"] == asked("SELECT uniqExact(decision_id) FROM decisions")
            assert rows["decisions"] == asked("SELECT sum(started) FROM worker_minutes")
            assert rows["outcomes"] == asked("SELECT sum(judged) FROM accuracy_minutes")
        return rows

    return count


class _Client:
    def __init__(self, click: ClickHouse, database: str = "") -> None:
        self._client = click.client(database)

    def __call__(self, statement: str) -> int:
        """Run it; the first value of its answer, if there is one."""
        rows = self._client.execute(statement)
        return int(rows[0][0]) if rows and rows[0] else 0

    def close(self) -> None:
        self._client.disconnect()


async def test_tables_of_the_same_name_that_are_not_ours_are_told_and_left_as_they_are(
    tmp_path: Path, click: ClickHouse, database: str
) -> None:
    with closing(_Client(click)) as other:
        other(f"CREATE DATABASE {database}")
        other(f"CREATE TABLE {database}.outcomes (at DateTime, mine String) ENGINE = MergeTree ORDER BY at")
        async with producer(settings(tmp_path, url=url(click, database))) as made:
            await made.place(ROOM)
            await made.broken("its table outcomes lacks columns (incarnation, sequence", "drop or rename that table")
            problem = await refused(made.asked.call("ListDecisions"))
            assert (problem.code, problem.reason) == ("UNAVAILABLE", "STORE_UNAVAILABLE")
            assert other(f"SELECT count() FROM system.tables WHERE database = '{database}'") == 1  # noqa: S608 -- ours
            other(f"RENAME TABLE {database}.outcomes TO {database}.mine")
            await made.complete(in_clickhouse(click, database))
            assert (await made.asked.store()).dropped > 0


async def test_an_account_that_may_make_no_tables_is_told_and_will_do_once_somebody_has_made_them(
    tmp_path: Path, click: ClickHouse, database: str
) -> None:
    if click.given:
        pytest.skip("the account without that right is the test front's")
    with closing(_Client(click)) as other:
        other(f"CREATE DATABASE {database}")
    async with producer(settings(tmp_path, url=url(click, database, user=WITHOUT_DDL))) as made:
        await made.place(ROOM)
        await made.broken("refused: no_ddl: Not enough privileges", "CREATE TABLE ON", "code 497")
        with closing(ClickHouseLog(click.address(database), retention=Retention(rows_days=7))) as admins:
            admins.prepare()
        await made.complete(in_clickhouse(click, database))
        store = await made.asked.store()
        assert store.dropped > 0
        # Nor may it change how long they are kept: that is told, and no reason to keep nothing.
        assert any("decisions is still kept for 7 days, not for 30" in each for each in store.warnings)


async def test_a_clickhouse_whose_disk_is_full_costs_what_finds_no_room_and_no_call(
    tmp_path: Path, click: ClickHouse, database: str
) -> None:
    with closing(_Client(click)) as other:
        async with producer(settings(tmp_path, url=url(click, database))) as made:
            rows = in_clickhouse(click, database)
            await made.place(10)
            await made.complete(rows)
            # The engine compares with what its disk has free. Decisions of a batch are stored, their outcomes are not.
            alter = f"ALTER TABLE {database}.outcomes"
            other(f"{alter} MODIFY SETTING min_free_disk_bytes_to_perform_insert = {1 << 60}")
            await made.place(ROOM)
            await made.broken("has no room left", "code 243")
            assert await made.asked.ids(page_size=1)  # what is there can be read all the while
            other(f"{alter} RESET SETTING min_free_disk_bytes_to_perform_insert")
            await made.complete(rows)
            assert (await made.asked.store()).dropped > 0


class Deadly:
    """A proxy before ClickHouse that kills it in the midst of an insert into `table`, at one of three moments."""

    def __init__(self, click: ClickHouse, database: str) -> None:
        self._click = click
        self._target = click.address(database).hosts[0]
        self.table, self.moment = b"", ""
        self.killed = asyncio.Event()
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "Deadly":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def arm(self, table: str, moment: str) -> None:
        self.table, self.moment = f"INSERT INTO {table} ".encode(), moment
        self.killed.clear()

    def _kill(self) -> None:
        self._click.stop()
        self.table = b""
        self.killed.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            back, onward = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        state = {"inserting": False, "rows": False}
        for each in (self._questions(reader, onward, state), self._answers(back, writer, state)):
            task = asyncio.create_task(each)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _questions(self, source: asyncio.StreamReader, to: asyncio.StreamWriter, state: dict[str, bool]) -> None:
        try:
            while data := await source.read(1 << 20):
                # Rows come once the table's shape has been answered.
                rows = bool(self.table) and state["inserting"] and len(data) > 1_000
                if rows and self.moment == "before its rows":
                    self._kill()
                    return
                to.write(data)
                await to.drain()
                if self.table and self.table in data:
                    state["inserting"] = True
                if rows and self.moment == "with its rows":
                    self._kill()
                    return
                state["rows"] = state["rows"] or rows
        except OSError:
            pass
        finally:
            to.transport.abort()

    async def _answers(self, source: asyncio.StreamReader, to: asyncio.StreamWriter, state: dict[str, bool]) -> None:
        try:
            while data := await source.read(1 << 20):
                if state["rows"] and self.table:
                    self._kill()  # it was stored, and nobody is told
                    return
                to.write(data)
        except OSError:
            pass
        finally:
            to.transport.abort()


async def test_a_clickhouse_that_dies_in_a_batch_costs_and_doubles_nothing(
    tmp_path: Path, click: ClickHouse, database: str
) -> None:
    if click.given:
        pytest.skip("a server that is given is not killed")
    async with Deadly(click, database) as proxy:
        configured = settings(tmp_path, url=url(click, database, port=proxy.port), timeout_s=5.0)
        async with producer(configured) as made:
            rows = in_clickhouse(click, database)
            await made.place(10)
            await made.complete(rows)
            for table, moment in (
                ("decisions", "with its rows"),
                ("outcomes", "before its rows"),
                ("outcomes", "before its answer"),
            ):
                proxy.arm(table, moment)
                await made.place(ROOM // 4)
                async with asyncio.timeout(DEADLINE_S):
                    await proxy.killed.wait()
                await made.place(ROOM // 8)
                await made.broken("decision log clickhouse://")
                click.start()  # here: the kernel ends a child together with the thread that made it
                await made.complete(rows)
                assert (await made.asked.store()).dropped == 0, (table, moment)
