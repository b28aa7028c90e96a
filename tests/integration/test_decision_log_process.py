"""The process that writes the decision log: killed, stopped, orphaned, impossible to start. Nothing is lost or doubled.

All with real processes and SQLite's real file; ClickHouse beside them is in test_clickhouse_log.py, whose writers write
from such processes too.
"""

import asyncio
import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from scheduler_server.storage.decision_log import (
    DecisionFilter,
    LogError,
    LogWriter,
    SqliteLog,
    UtilizationQuery,
)
from scheduler_server.storage.decision_log.clickhouse_log import ClickHouseLog
from scheduler_server.storage.decision_log.clickhouse_url import parse
from scheduler_server.storage.decision_log.frames import send
from scheduler_server.storage.decision_log.packing import pack
from scheduler_server.storage.decision_log.scribe_main import NICE
from scheduler_server.storage.decision_log.scribe_remote import MODULE, STARTS, ScribeProcess
from tests.decision_rows import decided, finished, sampled

DEADLINE_S = 60.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "decisions.sqlite"


@asynccontextmanager
async def writing(log: SqliteLog, **options: Any) -> AsyncIterator[LogWriter]:
    """A writer that does not wait long before it tries again."""
    hasty = {"flush_interval_s": 0.02, "first_backoff_s": 0.01, "longest_backoff_s": 0.1, "incarnation": "run1"}
    writer = LogWriter(log, random=random.random, **{**hasty, **options})
    try:
        yield writer
    finally:
        await writer.close(10.0)
        log.close_reading()


async def until(condition: Callable[[], Any], what: str) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 -- the condition is in another process
            await asyncio.sleep(0.005)
    assert what


async def started(writer: LogWriter) -> int:
    """The process, once there is one that can be asked."""
    await until(lambda: writer.status().pid, "it was started")
    return writer.status().pid


def children() -> list[int]:
    """Those that are there, starting or started."""
    found = []
    for each in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if MODULE in each.cmdline():
                found.append(each.pid)
    return found


async def killed(writer: LogWriter) -> None:
    """Kill the one that is there, and wait until the writer knows."""
    failures = writer.status().failures
    await until(children, "there is one")
    os.kill(children()[0], signal.SIGKILL)
    await until(lambda: writer.status().failures > failures, "it was noticed")


def held(path: Path) -> tuple[int, int, int]:
    """Decisions, different ones, and starts in the sums by minute."""
    log = SqliteLog(path)
    found = log.decisions(DecisionFilter(), limit=100_000).items
    starts = log._reading.ask("SELECT sum(started) FROM worker_minutes")[0][0]
    log.close_reading()
    return len(found), len({each.decision.decision_id for each in found}), starts


def ended(pid: int) -> bool:
    """Gone, or dead and not yet collected."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


# ------------------------------------------------------------------ killed


async def test_killed_at_random_moments_nothing_is_lost_or_doubled_and_every_death_is_told(path: Path) -> None:
    chance = random.Random(6)
    number = 0
    async with writing(SqliteLog(path), batch_entries=500) as writer:
        for turn in range(8):
            if turn % 4:  # every fourth is killed while it starts
                await started(writer)
            for _ in range(chance.randrange(1_000)):
                number += 1
                assert writer.put(decided(number))
                assert writer.put(finished(number))
            await asyncio.sleep(chance.random() * 0.05)
            await killed(writer)
            assert "its process ended (killed by signal 9)" in (writer.status().last_error or "")
        assert await writer.flushed(DEADLINE_S)
        status = writer.status()
        assert (status.taken, status.written, status.dropped, status.pending) == (2 * number, 2 * number, 0, 0)
        assert (status.healthy, status.warnings) == (True, ())
        assert status.restarts >= 6
    assert held(path) == (number, number, number)


async def test_one_that_dies_again_and_again_is_told_and_the_rest_waits_until_it_lives(
    path: Path, tmp_path: Path
) -> None:
    sick, python = tmp_path / "sick", tmp_path / "python"
    sick.touch()
    python.write_text(f'#!/bin/sh\n[ -e {sick} ] && kill -9 $$\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    log = SqliteLog(path)
    process = ScribeProcess(log, log.recipe(), python=str(python))
    async with writing(log, writing=process, max_pending=10) as writer:
        taken = [writer.put(decided(number)) for number in range(15)]
        await until(lambda: writer.status().failures > 2 * STARTS, "it is tried again")
        status = writer.status()
        assert (status.healthy, status.pid, status.pending, status.dropped_full) == (False, 0, 10, 5)
        assert "killed by signal 9" in (status.last_error or "")
        assert status.warnings == ()
        sick.unlink()
        assert await writer.flushed(DEADLINE_S)
        assert sum(taken) == writer.status().written == 10
        assert writer.status().pid
    assert held(path) == (10, 10, 10)


@pytest.mark.parametrize("python", ["/nowhere/python", "/bin/false"])
async def test_where_none_can_be_started_the_server_writes_itself_and_warns_once(path: Path, python: str) -> None:
    log = SqliteLog(path)
    async with writing(log, writing=ScribeProcess(log, log.recipe(), python=python)) as writer:
        for number in range(50):
            writer.put(decided(number))
        assert await writer.flushed(DEADLINE_S)
        writer.put(sampled(1.0, "", 4, 1))
        assert await writer.flushed(DEADLINE_S)
        status = writer.status()
        assert (status.written, status.dropped, status.pid, status.failures) == (51, 0, 0, STARTS - 1)
        (warning,) = status.warnings
        assert "written by the server itself, which slows it down" in warning
        assert str(path) in warning
    assert held(path) == (50, 50, 50)


# ------------------------------------------------------------------ beside the server


async def test_signals_to_the_whole_group_do_not_end_it_and_it_comes_second(path: Path) -> None:
    async with writing(SqliteLog(path)) as writer:
        pid = await started(writer)
        for number in range(20):
            os.kill(pid, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)[number % 3])
            writer.put(decided(number))
            assert await writer.flushed(DEADLINE_S)
        assert writer.status().pid == pid
        assert writer.status().failures == 0
        assert os.getpriority(os.PRIO_PROCESS, pid) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + NICE)
    assert not psutil.pid_exists(pid)  # not even as a zombie


async def test_one_that_stands_still_does_not_hold_up_the_end(path: Path) -> None:
    log = SqliteLog(path)
    writer = LogWriter(log, random=random.random, incarnation="run1", flush_interval_s=0.01)
    writer.put(decided(1))
    assert await writer.flushed(DEADLINE_S)
    pid = writer.status().pid
    os.kill(pid, signal.SIGSTOP)
    writer.put(decided(2))
    await until(lambda: writer.status().batches == 2, "it was given something to write")
    assert not await writer.close(0.05)
    assert writer.status().pending == 1
    os.kill(pid, signal.SIGCONT)
    await until(lambda: not psutil.pid_exists(pid), "it ended")
    assert writer.status().pending == 0
    assert held(path) == (2, 2, 2)


@pytest.mark.parametrize(("sent", "there"), [(2, 2), (1, 0)])
def test_without_its_server_it_writes_what_it_had_received_whole_and_ends(path: Path, sent: int, there: int) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen([sys.executable, "-m", MODULE], stdin=theirs.fileno(), stdout=theirs.fileno())
    slices = [pack([decided(number)]).body for number in range(2)]
    send(ours.fileno(), ("sqlite", SqliteLog(path).recipe()))
    send(ours.fileno(), ("prepare",))
    send(ours.fileno(), ("write", "run1", 1, 1, False, 2), slices[:sent])
    ours.close()  # as the kernel does for a server that is killed: no answer was read
    assert process.wait(DEADLINE_S) == 0
    log = SqliteLog(path)
    assert len(log.decisions(DecisionFilter(), limit=10).items) == there
    log.close_reading()


SERVER = """
import asyncio, random, sys
from pathlib import Path
from scheduler_server.storage.decision_log import LogWriter, SqliteLog
from tests.decision_rows import decided

async def main():
    log = SqliteLog(Path(sys.argv[1]))
    writer = LogWriter(log, incarnation="run1", random=random.random, flush_interval_s=0.001, batch_entries=50)
    number = 0
    while True:
        writer.put(decided(number))
        number += 1
        if number % 20 == 0:
            await asyncio.sleep(0.001)
        if number % 500 == 0:
            status = writer.status()
            print(status.pid, status.written, flush=True)

asyncio.run(main())
"""


def test_it_ends_with_a_server_that_is_killed_and_what_was_reported_as_written_is_there(path: Path) -> None:
    server = subprocess.Popen([sys.executable, "-c", SERVER, str(path)], stdout=subprocess.PIPE)
    assert server.stdout is not None
    pid = written = 0
    while written < 1_000:
        pid, written = map(int, server.stdout.readline().split())
    server.kill()
    rest = server.stdout.read().split(b"\n")
    server.stdout.close()
    server.wait(DEADLINE_S)
    written = max([written, *(int(line.split()[1]) for line in rest if line.count(b" "))])
    psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=DEADLINE_S)
    assert ended(pid)
    decisions, different, starts = held(path)
    assert decisions == different == starts >= written


# ------------------------------------------------------------------ what it is told


async def test_a_file_that_it_sets_aside_is_opened_anew_by_the_questions_of_the_server(path: Path) -> None:
    path.write_bytes(b"x" * 10_000)  # noqa: ASYNC240 -- nobody waits for this loop
    log = SqliteLog(path)
    with pytest.raises(LogError, match="is corrupt"):
        log.decisions(DecisionFilter(), limit=1)
    async with writing(log) as writer:
        writer.put(decided(1))
        assert await writer.flushed(DEADLINE_S)
        assert any("was set aside as decisions.sqlite.damaged" in line for line in writer.status().warnings)
        assert len(log.decisions(DecisionFilter(), limit=10).items) == 1
        assert log.utilization(UtilizationQuery(), limit=10).items


async def test_a_store_that_fails_is_told_in_its_own_words(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "nowhere" / "decisions.sqlite")
    async with writing(log) as writer:
        writer.put(decided(1))
        await until(lambda: writer.status().failures, "it failed")
        assert "cannot be opened: No such file or directory" in (writer.status().last_error or "")
        (tmp_path / "nowhere").mkdir()
        assert await writer.flushed(DEADLINE_S)
        assert writer.status().restarts == 0


async def test_a_file_whose_name_is_no_text_is_written_and_told_of(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xff.sqlite")
    path.write_bytes(b"x" * 10_000)
    log = SqliteLog(path)
    async with writing(log) as writer:
        writer.put(decided(1))
        assert await writer.flushed(DEADLINE_S)
        assert (writer.status().failures, len(writer.status().warnings)) == (0, 2)
    assert held(path) == (1, 1, 1)


async def test_a_password_is_in_no_command_line_and_no_environment() -> None:
    log = ClickHouseLog(parse("clickhouse://ann:s3cret@127.0.0.1:1/x"), connect_timeout_s=0.2)
    writer = LogWriter(log, random=random.random, incarnation="run1", first_backoff_s=0.01, longest_backoff_s=0.1)
    pid = await started(writer)
    await until(lambda: writer.status().failures, "it tried")
    process = psutil.Process(pid)
    assert MODULE in process.cmdline()
    told = [*process.cmdline(), *process.environ().values(), writer.status().last_error or ""]
    assert not any("s3cret" in each for each in told)
    await writer.close(0.0)
