"""The decision log in ClickHouse when something is wrong: down, slow, stalled, refusing, answers lost.

Every row that was handed over is found once, or counted as dropped: never lost in silence, never doubled, in the tables
and in the sums. See tests/clickhouse_server.py for what stands for ClickHouse here.
"""

import asyncio
import random
import signal
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import pytest

from scheduler_server.storage.decision_log import (
    AccuracyQuery,
    DecisionFilter,
    LogError,
    LogFault,
    LogWriter,
    Retention,
    UtilizationQuery,
)
from scheduler_server.storage.decision_log.clickhouse_log import ClickHouseLog
from scheduler_server.storage.decision_log.clickhouse_schema import KEPT, MIGRATIONS, VERSION
from scheduler_server.storage.decision_log.rows import ROWS
from tests.bad_network import BadNetwork
from tests.clickhouse_server import ClickHouse, clickhouse
from tests.decision_rows import START, batch, decided, finished

DEADLINE_S = 60.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    with clickhouse(tmp_path_factory.mktemp("clickhouse")) as started:
        yield started


@pytest.fixture
def database(server: ClickHouse) -> Iterator[str]:
    with server.database() as name:
        yield name


@asynccontextmanager
async def writing(log: ClickHouseLog, **options: Any) -> AsyncIterator[LogWriter]:
    """A writer that does not wait long before it tries again."""
    chance = random.Random(1)
    hasty = {"flush_interval_s": 0.05, "first_backoff_s": 0.02, "longest_backoff_s": 0.2, "incarnation": "run1"}
    writer = LogWriter(log, random=chance.random, **{**hasty, **options})
    try:
        yield writer
    finally:
        await writer.close(5.0)


async def until(condition: Any, what: str) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110 -- the condition is in another process
            await asyncio.sleep(0.02)
    assert what


def counted(server: ClickHouse, database: str) -> tuple[int, int, int, int]:
    """Decisions, different ones, starts in the sums, and outcomes judged in the sums."""
    client = server.client(database)
    try:
        ((decisions, different),) = client.execute("SELECT count(), uniqExact(decision_id) FROM decisions")
        ((started,),) = client.execute("SELECT sum(started) FROM worker_minutes")
        ((judged,),) = client.execute("SELECT sum(judged) FROM accuracy_minutes")
    finally:
        client.disconnect()
    return decisions, different, started, judged


def found(server: ClickHouse, database: str) -> int:
    """Decisions that are there."""
    client = server.client(database)
    try:
        return int(client.execute("SELECT count() FROM decisions")[0][0])
    finally:
        client.disconnect()


def hand_over(writer: LogWriter, numbers: range) -> int:
    """A decision and its outcome each; how many entries were taken."""
    return sum(writer.put(decided(number)) + writer.put(finished(number)) for number in numbers)


# ------------------------------------------------------------------ down


async def test_ten_seconds_without_a_server_under_200_rows_a_second_lose_nothing(
    server: ClickHouse, database: str
) -> None:
    if server.given:
        pytest.skip("a server that is given is not killed")
    log = ClickHouseLog(server.address(database), timeout_s=5.0, connect_timeout_s=1.0)
    async with writing(log) as writer:
        hand_over(writer, range(100))
        assert await writer.flushed(DEADLINE_S)
        began = time.monotonic()
        number = 100
        killed = False
        while (gone := time.monotonic() - began) < 12.0:
            if not killed and gone >= 1.0:
                server.stop()  # kill -9
                killed = True
            due = 100 + int(gone * 100.0)  # 100 decisions and 100 outcomes a second
            hand_over(writer, range(number, due))
            number = max(number, due)
            await asyncio.sleep(0.02)
        status = writer.status()
        assert (status.healthy, status.dropped) == (False, 0)
        assert "cannot be reached" in (status.last_error or "")
        assert status.oldest_pending_age_s > 9.0
        server.start()  # here: the kernel ends a child together with the thread that made it
        assert await writer.flushed(DEADLINE_S)
        status = writer.status()
        assert (status.written, status.dropped, status.pending) == (2 * number, 0, 0)
        assert status.healthy
    assert counted(server, database) == (number,) * 4


async def test_what_does_not_fit_while_the_server_is_down_is_counted_and_the_rest_written(
    server: ClickHouse, database: str
) -> None:
    async with BadNetwork("127.0.0.1:1") as nobody:  # nothing listens there: every connection ends at once
        port = int(nobody.address.rpartition(":")[2])
        log = ClickHouseLog(server.address(database, "127.0.0.1", port))
        async with writing(log, max_pending=50) as writer:
            assert hand_over(writer, range(100)) == 50
            assert writer.status().dropped_full == 150
            await until(lambda: writer.status().failures > 2, "it tries")
            host, real = server.address(database).hosts[0]
            nobody._target = (host, real)
            assert await writer.flushed(DEADLINE_S)
            assert writer.put(decided(1_000))
            assert await writer.flushed(DEADLINE_S)
            status = writer.status()
            assert (status.written, status.dropped, status.taken) == (51, 150, 51)
    assert counted(server, database) == (26, 26, 26, 25)


async def test_a_connection_cut_again_and_again_doubles_nothing(server: ClickHouse, database: str) -> None:
    host, port = server.address(database).hosts[0]
    async with BadNetwork(f"{host}:{port}") as network:
        mine = int(network.address.rpartition(":")[2])
        log = ClickHouseLog(server.address(database, "127.0.0.1", mine), timeout_s=5.0)
        async with writing(log, batch_entries=500, flush_interval_s=0.01) as writer:
            number = 100
            hand_over(writer, range(number))
            assert await writer.flushed(DEADLINE_S)  # there is a connection to cut
            for turn in range(400):
                hand_over(writer, range(number, number + 100))
                number += 100
                await asyncio.sleep(0.05)
                network.cut()
                if turn >= 40 and writer.status().failures:
                    break
            assert await writer.flushed(DEADLINE_S)
            assert writer.status().failures > 0
            assert (writer.status().written, writer.status().dropped) == (2 * number, 0)
    assert counted(server, database) == (number,) * 4


# ------------------------------------------------------------------ answers lost


class LostAnswers:
    """A proxy that goes deaf to the server as soon as the rows of an insert into `table` are on their way to it."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self.table = b""
        self.deaf = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, onward = await asyncio.open_connection(*self._target)
        for each in (self._questions(reader, onward), self._answers(back, writer)):
            task = asyncio.create_task(each)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _questions(self, source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        inserting = False
        try:
            while data := await source.read(1 << 20):
                if self.table and b"INSERT INTO " + self.table in data:
                    inserting = True
                elif inserting and len(data) > 1_000:  # the shape of the table has been answered
                    self.deaf, inserting = True, False
                to.write(data)
                await to.drain()
        except OSError:
            pass
        finally:
            to.transport.abort()

    async def _answers(self, source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(1 << 20):
                if not self.deaf:
                    to.write(data)
                    await to.drain()
        except OSError:
            pass
        finally:
            to.transport.abort()


async def test_an_insert_that_was_executed_and_whose_answer_was_lost_is_there_once(
    server: ClickHouse, database: str
) -> None:
    proxy = LostAnswers(*server.address(database).hosts[0])
    port = await proxy.start()
    log = ClickHouseLog(server.address(database, "127.0.0.1", port), timeout_s=0.7, connect_timeout_s=0.7)
    async with writing(log) as writer:
        hand_over(writer, range(10))
        assert await writer.flushed(DEADLINE_S)
        number = 10
        for table in (b"decisions", b"outcomes") * 2:
            failures, proxy.table = writer.status().failures, table
            hand_over(writer, range(number, number + 100))
            number += 100
            await until(lambda failures=failures: writer.status().failures > failures, "no answer came")
            assert proxy.deaf
            assert "did not answer in time" in (writer.status().last_error or "")
            if table == b"decisions":  # it was executed, though nobody was told
                await until(lambda number=number: found(server, database) == number, "it is there")
            proxy.table, proxy.deaf = b"", False
            assert await writer.flushed(DEADLINE_S)
        assert (writer.status().written, writer.status().dropped) == (2 * number, 0)
    await proxy.stop()
    assert counted(server, database) == (410,) * 4


async def test_a_server_that_stands_still_for_a_while_only_makes_it_later(server: ClickHouse, database: str) -> None:
    if server.given:
        pytest.skip("a server that is given is not stopped")
    log = ClickHouseLog(server.address(database), timeout_s=0.5, connect_timeout_s=0.5)
    async with writing(log) as writer:
        hand_over(writer, range(100))
        assert await writer.flushed(DEADLINE_S)
        for turn in range(1, 4):
            server.signal(signal.SIGSTOP)
            hand_over(writer, range(1_000 * turn, 1_000 * turn + 100))
            failures = writer.status().failures
            await until(lambda failures=failures: writer.status().failures >= failures + 2, "it tries in vain")
            assert "did not answer in time" in (writer.status().last_error or "")
            server.signal(signal.SIGCONT)
            assert await writer.flushed(DEADLINE_S)
        assert (writer.status().written, writer.status().dropped) == (800, 0)
    assert counted(server, database) == (400,) * 4


async def test_a_slow_line_only_makes_it_later(server: ClickHouse, database: str) -> None:
    host, port = server.address(database).hosts[0]
    async with BadNetwork(f"{host}:{port}") as network:
        log = ClickHouseLog(server.address(database, "127.0.0.1", int(network.address.rpartition(":")[2])))
        async with writing(log) as writer:
            hand_over(writer, range(1))
            assert await writer.flushed(DEADLINE_S)
            failures = writer.status().failures  # this proxy may lose the answer that the database is not there yet
            network.latency_s = 0.2
            hand_over(writer, range(1, 500))
            assert await writer.flushed(DEADLINE_S)
            assert (writer.status().written, writer.status().failures) == (1_000, failures)
    assert counted(server, database) == (500,) * 4


# ------------------------------------------------------------------ refusing


async def test_a_server_that_refuses_is_asked_again_until_it_takes_them(server: ClickHouse, database: str) -> None:
    client = server.client()
    log = ClickHouseLog(server.address(database))
    async with writing(log) as writer:
        hand_over(writer, range(10))
        assert await writer.flushed(DEADLINE_S)
        # Outcomes are refused, decisions of the same batch are not: they must not be there twice afterwards.
        client.execute(f"ALTER TABLE {database}.outcomes ADD CONSTRAINT none CHECK attempt > 5")
        hand_over(writer, range(100, 200))
        await until(lambda: writer.status().consecutive_failures > 3, "it is refused")
        assert "refused:" in (writer.status().last_error or "")
        assert "none" in (writer.status().last_error or "")
        client.execute(f"ALTER TABLE {database}.outcomes DROP CONSTRAINT none")
        assert await writer.flushed(DEADLINE_S)
        assert (writer.status().written, writer.status().dropped) == (220, 0)
    client.disconnect()
    assert counted(server, database) == (110,) * 4


async def test_tables_that_were_taken_away_are_made_again(server: ClickHouse, database: str) -> None:
    log = ClickHouseLog(server.address(database))
    async with writing(log) as writer:
        hand_over(writer, range(10))
        assert await writer.flushed(DEADLINE_S)
        client = server.client()
        client.execute(f"DROP DATABASE {database}")
        hand_over(writer, range(10, 20))
        assert await writer.flushed(DEADLINE_S)
        client.disconnect()
    assert counted(server, database) == (10,) * 4


async def test_one_table_that_was_taken_away_is_made_again_and_counted_in_the_sums(
    server: ClickHouse, database: str
) -> None:
    log = ClickHouseLog(server.address(database))
    async with writing(log) as writer:
        hand_over(writer, range(10))
        assert await writer.flushed(DEADLINE_S)
        client = server.client(database)
        client.execute("DROP TABLE outcomes")
        hand_over(writer, range(10, 20))
        assert await writer.flushed(DEADLINE_S)
        assert client.execute("SELECT count() FROM outcomes") == [(10,)]
        client.disconnect()
    assert counted(server, database) == (20, 20, 20, 20)


def test_a_newer_version_is_refused_and_left_as_it_is(server: ClickHouse, database: str) -> None:
    log = ClickHouseLog(server.address(database))
    log.prepare()
    client = server.client(database)
    client.execute(f"INSERT INTO schema_version (version) SELECT {VERSION + 1}")
    newer = ClickHouseLog(server.address(database))
    with pytest.raises(LogError, match=f"has version {VERSION + 1}") as caught:
        newer.write(batch([decided(1)]))
    assert caught.value.reason is LogFault.NEWER_VERSION
    assert client.execute("SELECT count() FROM decisions") == [(0,)]
    client.disconnect()
    newer.close()
    log.close()


def test_nobody_there_is_told_without_the_password(server: ClickHouse) -> None:
    base = server.address("x", "127.0.0.1", 1)
    address = type(base)(hosts=base.hosts, database="x", user="ann", password="s3cret")
    log = ClickHouseLog(address, connect_timeout_s=1.0)
    for what in (log.prepare, lambda: log.decisions(DecisionFilter(), limit=1)):
        with pytest.raises(LogError, match="cannot be reached") as caught:
            what()
        assert caught.value.reason is LogFault.UNREACHABLE
        assert "clickhouse://ann:***@127.0.0.1:1/x" in str(caught.value)
        assert "s3cret" not in str(caught.value)


def test_a_value_that_cannot_be_stored_is_told_as_such(server: ClickHouse, database: str) -> None:
    log = ClickHouseLog(server.address(database))
    for bad in (decided(2, worker_id="\ud800"), decided(2, policy_revision=2**63)):
        with pytest.raises(LogError) as caught:
            log.write(batch([decided(1), bad]))
        assert caught.value.reason is LogFault.UNSUITABLE_ROW
    log.write(batch([decided(1)], 2))
    assert found(server, database) == 1
    log.close()


# ------------------------------------------------------------------ the schema


def test_tables_have_the_columns_of_the_rows_in_order_with_partitions_ttl_and_codecs(
    server: ClickHouse, database: str
) -> None:
    log = ClickHouseLog(server.address(database), retention=Retention(rows_days=7, figures_days=70, audit_days=700))
    log.prepare()
    log.close()
    client = server.client(database)
    columns: dict[str, list[str]] = {}
    bare = []
    for table, name, type_, codec in client.execute(
        "SELECT table, name, type, compression_codec FROM system.columns WHERE database = currentDatabase()"
    ):
        columns.setdefault(table, []).append(name)
        if table in KEPT and not codec and not type_.startswith("LowCardinality"):
            bare.append((table, name))
    assert bare == []
    for table, row in ROWS.items():
        assert columns[table] == list(row._fields), table
    days = {"rows_days": 7, "figures_days": 70, "audit_days": 700}
    tables = {
        name: (made, partition)
        for name, made, partition in client.execute(
            "SELECT name, create_table_query, partition_key FROM system.tables WHERE database = currentDatabase()"
        )
    }
    for name, (_, which) in KEPT.items():
        made, partition = tables[name]
        assert f"toIntervalDay({days[which]})" in made, name
        assert partition, name
    client.disconnect()


def test_another_retention_changes_what_is_there(server: ClickHouse, database: str) -> None:
    first = ClickHouseLog(server.address(database), retention=Retention(rows_days=7))
    assert first.prepare() == []
    first.close()
    other = ClickHouseLog(server.address(database), retention=Retention(rows_days=9))
    told = other.prepare()
    assert len(told) == 6
    assert any("decisions was kept for 7 days, now for 9" in line for line in told)
    other.close()
    again = ClickHouseLog(server.address(database), retention=Retention(rows_days=9))
    assert again.prepare() == []
    again.close()


def test_rows_older_than_their_days_go_and_sums_stay(server: ClickHouse, database: str) -> None:
    log = ClickHouseLog(server.address(database), retention=Retention(rows_days=3, figures_days=4_000))
    now = time.time()
    long_ago = now - 20 * 86_400.0
    log.write(
        batch([entry for at in (long_ago, now) for entry in (decided(1, decided_at=at), finished(1, decided_at=at))])
    )
    client = server.client(database)
    client.execute("OPTIMIZE TABLE decisions FINAL")
    client.execute("OPTIMIZE TABLE outcomes FINAL")
    assert counted(server, database)[0] == 1
    assert log.accuracy(AccuracyQuery(), limit=1).items[0].sample_count == 2
    client.disconnect()
    log.close()
    log.close_reading()


def test_two_servers_may_start_at_once_and_write_at_once(server: ClickHouse, database: str) -> None:
    def one(name: str) -> None:
        log = ClickHouseLog(server.address(database))
        for number in range(1, 6):
            made = batch(
                [decided(number, incarnation=name, decision_id=f"d-{name}-{number}")], number, incarnation=name
            )
            log.write(made)
        log.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, ["a", "b", "c", "d"]))
    assert counted(server, database)[:3] == (20, 20, 20)
    client = server.client(database)
    assert client.execute("SELECT max(version) FROM schema_version") == [(VERSION,)]
    client.disconnect()


def test_a_migration_that_died_half_way_is_finished(server: ClickHouse, database: str) -> None:
    client = server.client()
    client.execute(f"CREATE DATABASE {database}")
    client.disconnect()
    client = server.client(database)
    for statement in MIGRATIONS[0][:5]:
        client.execute(statement.format(rows_days=30, figures_days=400, audit_days=400))
    client.disconnect()
    log = ClickHouseLog(server.address(database))
    log.write(batch([decided(1), finished(1)]))
    assert counted(server, database) == (1, 1, 1, 1)
    assert log.utilization(UtilizationQuery(), limit=1).items[0].completed == 1
    assert log.decisions(DecisionFilter(), limit=1).items[0].decision.decided_at == START + 1
    log.close()
    log.close_reading()
