"""The decision log beside a loop: order, batches, overflow, retries, what is counted, and going down."""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from scheduler_server.model.fleet_event import FleetEvent, FleetEventKind
from scheduler_server.model.task import Task
from scheduler_server.storage.decision_log import (
    Audited,
    Batch,
    Happened,
    LogError,
    LogFault,
    LogWriter,
    Table,
    without_payload,
)
from scheduler_server.storage.decision_log.writer import AUDIT_RESERVE
from tests.decision_rows import EXPLAINED, decided, finished, sampled

DEADLINE_S = 10.0


class Log:
    """Remembers batches as every log does, waits for `gate`, and fails as it is told."""

    backend, location = "fake", "nowhere"

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.tries: list[int] = []
        self.failures: list[Exception] = []
        self.prepare_failures = 0
        self.lost_answers = 0
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.closed = False
        self.tidied: list[float] = []
        self.tidy_steps = 0

    def prepare(self) -> list[str]:
        assert self.gate.wait(DEADLINE_S)
        if self.prepare_failures:
            self.prepare_failures -= 1
            raise LogError(LogFault.UNREACHABLE, "log: cannot be reached")
        return ["log: is new"]

    def write(self, batch: Batch) -> list[str]:
        self.entered.set()
        assert self.gate.wait(DEADLINE_S)
        self.tries.append(batch.number)
        if self.failures:
            raise self.failures.pop(0)
        if batch.number not in [each.number for each in self.batches]:
            self.batches.append(batch)
        if self.lost_answers:
            self.lost_answers -= 1
            raise LogError(LogFault.TOO_SLOW, "log: did not answer in time")
        return []

    def tidy(self, now: float) -> bool:
        self.tidied.append(now)
        self.tidy_steps -= 1
        return self.tidy_steps > 0

    def close(self) -> None:
        self.closed = True

    def rows(self, table: Table) -> list[Any]:
        return [row for batch in self.batches for row in batch.rows.get(table, [])]


def made(log: Log, **options: Any) -> LogWriter:
    settled = {
        "flush_interval_s": 3_600.0, "first_backoff_s": 0.0, "incarnation": "run1", "random": lambda: 0.5,
        "monotonic": lambda: 100.0, "wall": lambda: 1_000.0, "tidy_interval_s": 1e9,
    }  # fmt: skip
    return LogWriter(log, **{**settled, **options})  # type: ignore[arg-type]


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
async def writer(log: Log) -> AsyncIterator[LogWriter]:
    writer = made(log)
    yield writer
    log.gate.set()
    log.failures.clear()
    await writer.close(DEADLINE_S)


async def entered(log: Log) -> None:
    """Until the writer is writing a batch."""
    assert await asyncio.to_thread(log.entered.wait, DEADLINE_S)


async def test_what_is_handed_over_is_written_in_order_in_one_batch(log: Log, writer: LogWriter) -> None:
    assert all(writer.put(decided(number)) for number in range(3))
    assert writer.put(finished(1))
    assert await writer.flushed(DEADLINE_S)
    (batch,) = log.batches
    assert (batch.incarnation, batch.number) == ("run1", 1)
    assert [row[2:4] for row in batch.rows[Table.DECISIONS]] == [(1, "d-run1-0"), (2, "d-run1-1"), (3, "d-run1-2")]
    assert [row[2:4] for row in batch.rows[Table.OUTCOMES]] == [(4, "d-run1-1")]
    status = writer.status()
    assert (status.taken, status.written, status.pending, status.dropped, status.batches) == (4, 4, 0, 0, 1)
    assert status.written_by_table[Table.DECISIONS] == 3
    assert (status.healthy, status.last_error, status.last_success_at) == (True, None, 1_000.0)
    assert status.warnings == ("log: is new",)


async def test_a_decision_counts_once_with_all_its_candidates(log: Log, writer: LogWriter) -> None:
    writer.put(decided(1, explanation=EXPLAINED))
    assert await writer.flushed(DEADLINE_S)
    assert len(log.rows(Table.CANDIDATES)) == 2
    assert writer.status().written == 1


async def test_more_than_a_batch_is_written_as_several(log: Log) -> None:
    writer = made(log, batch_entries=4)
    for number in range(9):
        writer.put(decided(number))
    assert await writer.flushed(DEADLINE_S)
    assert [len(batch.rows[Table.DECISIONS]) for batch in log.batches] == [4, 4, 1]
    assert [batch.number for batch in log.batches] == [1, 2, 3]
    await writer.close(DEADLINE_S)


async def test_long_texts_make_smaller_batches(log: Log, writer: LogWriter) -> None:
    for number in range(200):
        writer.put(decided(number, about={"trace_id": "x" * 100_000}))
    assert await writer.flushed(DEADLINE_S)
    assert [len(batch.rows[Table.DECISIONS]) for batch in log.batches] == [128, 72]
    assert [row[2] for row in log.rows(Table.DECISIONS)] == list(range(1, 201))


@pytest.mark.parametrize(("more", "dropped"), [(4, 0), (5, 1), (9, 5)])
async def test_what_finds_no_room_is_dropped_and_counted_exactly(log: Log, more: int, dropped: int) -> None:
    writer = made(log, max_pending=5)
    log.gate.clear()
    writer.put(decided(0))
    assert not await writer.flushed(0.0)
    await entered(log)  # one is being written, and counts
    taken = [writer.put(decided(1 + number)) for number in range(more)]
    assert taken == [True] * min(more, 4) + [False] * dropped
    status = writer.status()
    assert (status.pending, status.dropped_full) == (1 + min(more, 4), dropped)
    assert status.lost_by_table[Table.DECISIONS] == dropped
    log.gate.set()
    assert await writer.flushed(DEADLINE_S)
    assert writer.put(decided(99))
    assert await writer.close(DEADLINE_S)
    status = writer.status()
    assert status.written == len(log.rows(Table.DECISIONS)) == 2 + min(more, 4)
    assert status.written + status.dropped == 2 + more


async def test_samples_give_way_and_audit_entries_find_room(log: Log) -> None:
    writer = made(log, max_pending=4)
    log.gate.clear()
    assert writer.sample(sampled(0.0, "w-1", 4, 1))
    assert writer.sample(sampled(0.0, "w-1", 4, 1))
    assert not writer.sample(sampled(0.0, "w-1", 4, 1))  # half full
    assert writer.put(decided(1))
    assert writer.put(decided(2))
    assert not writer.put(decided(3))
    audited = Audited(0.0, "a", "ann", "admin", "", "X", "", "", "", "", 0, "")
    assert all(writer.put(audited) for _ in range(AUDIT_RESERVE))
    assert not writer.put(audited)
    lost = writer.status().lost_by_table
    assert (lost[Table.HEARTBEATS], lost[Table.DECISIONS], lost[Table.AUDIT]) == (1, 1, 1)
    log.gate.set()
    assert await writer.close(DEADLINE_S)
    assert writer.status().written == 4 + AUDIT_RESERVE


async def test_a_batch_that_fails_is_written_again_as_it_is_before_anything_else(log: Log, writer: LogWriter) -> None:
    log.failures = [LogError(LogFault.UNREACHABLE, "log: cannot be reached"), OSError("odd")]
    log.lost_answers = 1
    writer.put(decided(1))
    assert await writer.flushed(DEADLINE_S)
    writer.put(decided(2))
    assert await writer.flushed(DEADLINE_S)
    assert log.tries == [1, 1, 1, 1, 2]
    assert [row[3] for row in log.rows(Table.DECISIONS)] == ["d-run1-1", "d-run1-2"]
    status = writer.status()
    assert (status.written, status.failures, status.consecutive_failures, status.healthy) == (2, 3, 0, True)
    assert status.last_error == "log: did not answer in time"


async def test_a_store_that_is_down_at_the_start_loses_nothing_that_finds_room(log: Log) -> None:
    log.prepare_failures = 3
    writer = made(log, max_pending=2)
    assert [writer.put(decided(number)) for number in range(2)] == [True, True]
    assert await writer.flushed(DEADLINE_S)
    assert len(log.rows(Table.DECISIONS)) == 2
    assert writer.status().failures == 3
    await writer.close(DEADLINE_S)


async def test_while_it_fails_it_says_so_and_how_old_the_oldest_is(log: Log) -> None:
    now = [100.0]
    writer = made(log, monotonic=lambda: now[0], first_backoff_s=1e9, longest_backoff_s=1e9)
    log.failures = [LogError(LogFault.DISK_FULL, "log: has no room left")]
    writer.put(decided(1))
    assert not await writer.flushed(0.0)
    await entered(log)
    async with asyncio.timeout(DEADLINE_S):
        while not writer.status().consecutive_failures:  # noqa: ASYNC110 -- a failure has no callback
            await asyncio.sleep(0)
    now[0] = 107.0
    status = writer.status()
    assert (status.healthy, status.last_error, status.pending) == (False, "log: has no room left", 1)
    assert status.oldest_pending_age_s == 7.0
    assert await writer.close(DEADLINE_S)  # closing tries once more at once
    assert len(log.batches) == 1


async def test_one_bad_value_goes_alone(log: Log, writer: LogWriter) -> None:
    class Picky(Log):
        def write(self, batch: Batch) -> list[str]:
            for rows in batch.rows.values():
                for row in rows:
                    "".join(each for each in row if isinstance(each, str)).encode()
            return super().write(batch)

    picky = Picky()
    wrapped = picky.write

    def refusing(batch: Batch) -> list[str]:
        try:
            return wrapped(batch)
        except UnicodeError as error:
            raise LogError(LogFault.UNSUITABLE_ROW, f"log: cannot hold a value: {error}") from None

    picky.write = refusing  # type: ignore[method-assign]
    odd = made(picky)
    event = FleetEvent(1, 0.0, FleetEventKind.WORKER_REGISTERED, "w-\ud800")
    odd.put(decided(1))
    odd.put(Happened(event))
    odd.put(decided(2, worker_id="\ud800", explanation=EXPLAINED))
    odd.put(decided(3))
    odd.put(None)  # type: ignore[arg-type]  # is no entry
    assert await odd.close(DEADLINE_S)
    assert [row[3] for row in picky.rows(Table.DECISIONS)] == ["d-run1-1", "d-run1-3"]
    assert picky.rows(Table.CANDIDATES) == []
    status = odd.status()
    assert (status.taken, status.written, status.refused, status.pending) == (5, 2, 3, 0)


async def test_a_batch_that_can_never_be_stored_is_given_up_after_three_tries(log: Log, writer: LogWriter) -> None:
    log.failures = [LogError(LogFault.UNSUITABLE_ROW, "log: cannot hold a value") for _ in range(3)]
    writer.put(decided(1))
    writer.put(decided(2))
    assert await writer.flushed(DEADLINE_S)
    writer.put(decided(3))
    assert await writer.flushed(DEADLINE_S)
    status = writer.status()
    assert (status.refused, status.written) == (2, 1)
    assert log.tries == [1, 1, 1, 2]


async def test_closing_writes_what_waits_and_takes_nothing_more(log: Log) -> None:
    writer = made(log)
    writer.put(decided(1))
    assert await writer.close(DEADLINE_S)
    assert log.closed
    assert len(log.batches) == 1
    assert not writer.put(decided(2))
    assert not writer.sample(sampled(0.0, "w", 1, 1))
    assert writer.status().dropped_full == 2
    assert await writer.close(DEADLINE_S)  # twice is once
    assert await writer.flushed(DEADLINE_S)


async def test_what_cannot_be_written_before_the_end_is_counted_as_abandoned(log: Log) -> None:
    writer = made(log, monotonic=asyncio.get_running_loop().time, first_backoff_s=0.01, batch_entries=2)
    log.failures = [LogError(LogFault.UNREACHABLE, "log: cannot be reached") for _ in range(10_000)]
    for number in range(5):
        writer.put(decided(number))
    assert not await writer.close(0.05)
    status = writer.status()
    assert (status.taken, status.written, status.abandoned, status.pending) == (5, 0, 5, 0)
    assert log.closed


async def test_a_store_that_hangs_does_not_hold_up_the_end(log: Log) -> None:
    writer = made(log)
    log.gate.clear()
    writer.put(decided(1))
    assert not await writer.flushed(0.0)
    await entered(log)
    assert not await writer.close(0.0)
    assert writer.status().pending == 1
    log.gate.set()


async def test_retention_takes_its_turn_when_nothing_fails(log: Log) -> None:
    writer = made(log, tidy_interval_s=0.0)
    log.tidy_steps = 3
    writer.put(decided(1))
    assert await writer.flushed(DEADLINE_S)
    assert await writer.close(DEADLINE_S)
    assert log.tidied[:3] == [1_000.0] * 3


def test_a_payload_is_not_kept() -> None:
    task = Task("t", "x", 1, "resize", payload=b"large", user="ann")
    assert without_payload(task) == task._replace(payload=b"")
    light = Task("t", "x", 1, "resize")
    assert without_payload(light) is light
