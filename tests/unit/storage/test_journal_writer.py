"""The journal beside a loop: coalescing, order, durability, overflow, failure and recovery."""

import asyncio
import json
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from scheduler_server.storage import (
    Entry,
    Journal,
    JournalError,
    JournalFault,
    JournalWriter,
    MemoryJournal,
    UnavailableJournal,
)

DEADLINE_S = 10.0


class Store(MemoryJournal):
    """Remembers batches, waits for `gate`, and fails as often as it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[tuple[list[Entry], list[tuple[str, str]]]] = []
        self.failures = 0
        self.gate = threading.Event()
        self.gate.set()
        self.closed = False

    def apply(self, puts: Sequence[Entry], deletes: Sequence[tuple[str, str]]) -> None:
        assert self.gate.wait(DEADLINE_S)
        if self.failures:
            self.failures -= 1
            raise JournalError(JournalFault.DISK_FULL, "journal x: has no room left")
        self.batches.append((list(puts), list(deletes)))
        super().apply(puts, deletes)

    def close(self) -> None:
        self.closed = True


class Rig:
    """A writer over a Store, on the running loop, with a clock that stands still."""

    def __init__(self, **options: object) -> None:
        self.store = Store()
        self.now = 100.0
        self.told: list[int] = []
        self.changed = asyncio.Event()
        self.writer = JournalWriter(
            self.store,
            encode=lambda value: json.dumps(value).encode(),
            persisted=self._persisted,
            loop=asyncio.get_running_loop(),
            monotonic=lambda: self.now,
            **{"flush_interval_s": 0.0, "first_backoff_s": 0.0, **options},  # type: ignore[arg-type]
        )

    def _persisted(self, sequence: int) -> None:
        self.told.append(sequence)
        self.changed.set()

    async def settled(self) -> None:
        """Until everything so far is durable."""
        async with asyncio.timeout(DEADLINE_S):
            while self.writer.status().persisted < self.writer.status().sequence:
                self.changed.clear()
                await self.changed.wait()

    async def until_failures(self, count: int) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while self.writer.status().failures < count:  # noqa: ASYNC110 -- a failure has no callback
                await asyncio.sleep(0)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = Rig()
    yield rig
    rig.store.gate.set()
    rig.store.failures = 0
    await rig.writer.close(DEADLINE_S)


async def test_what_is_put_is_written_in_one_group_and_told_on_the_loop(rig: Rig) -> None:
    assert [rig.writer.put("lease", name, {"n": name}) for name in "abc"] == [1, 2, 3]
    assert rig.told == []
    await rig.settled()
    assert rig.told == [3]
    assert rig.store.batches == [
        (
            [Entry("lease", name, number, b'{"n": "%b"}' % name.encode()) for number, name in enumerate("abc", 1)],
            [],
        )
    ]
    status = rig.writer.status()
    assert (status.pending, status.written, status.healthy, status.oldest_pending_age_s) == (0, 3, True, 0.0)


async def test_an_entry_that_comes_and_goes_within_one_window_is_never_written(rig: Rig) -> None:
    rig.writer.put("lease", "a", 1)
    rig.writer.put("lease", "b", 2)
    rig.writer.delete("lease", "a")
    rig.writer.delete("lease", "b")
    await rig.settled()
    assert rig.store.batches == []
    assert rig.told == [4]
    assert rig.writer.status().coalesced == 2


async def test_an_entry_on_disk_gets_its_delete_even_after_another_put_in_the_window(rig: Rig) -> None:
    rig.writer.put("lease", "a", 1)
    await rig.settled()
    rig.writer.put("lease", "a", 2)
    rig.writer.delete("lease", "a")
    await rig.settled()
    assert rig.store.batches[1:] == [([], [("lease", "a")])]
    assert rig.store.load() == []


async def test_deleting_what_never_was_writes_nothing_and_is_told(rig: Rig) -> None:
    assert rig.writer.delete("lease", "never") == 1
    await rig.settled()
    assert (rig.store.batches, rig.told) == ([], [1])


async def test_changes_made_while_a_batch_is_in_flight_follow_in_one_more_batch(rig: Rig) -> None:
    rig.store.gate.clear()
    rig.writer.put("lease", "a", 1)
    rig.writer.hurry()
    await asyncio.sleep(0)  # the hurried flush runs; the thread waits at the gate
    rig.writer.delete("lease", "a")
    rig.writer.put("lease", "b", 2)
    rig.writer.hurry()
    await asyncio.sleep(0)
    assert rig.told == []
    rig.store.gate.set()
    await rig.settled()
    assert rig.told == [1, 3]
    assert rig.store.batches[1] == ([Entry("lease", "b", 3, b"2")], [("lease", "a")])


async def test_sequences_go_on_behind_what_was_restored_and_restored_entries_get_their_delete() -> None:
    rig = Rig(restored=[Entry("lease", "old", 41, b"1")])
    assert rig.writer.put("lease", "new", 1) == 42
    rig.writer.delete("lease", "old")
    await rig.settled()
    assert rig.store.batches == [([Entry("lease", "new", 42, b"1")], [("lease", "old")])]
    assert await rig.writer.close(DEADLINE_S)


async def test_hurry_does_not_wait_for_the_interval() -> None:
    rig = Rig(flush_interval_s=3600.0)
    rig.writer.put("lease", "a", 1)
    rig.writer.hurry()
    await rig.settled()
    assert rig.told == [1]
    assert await rig.writer.close(DEADLINE_S)


@pytest.mark.parametrize(("waiting", "accepted"), [(2, True), (3, False), (4, False)])
async def test_the_newest_new_key_is_refused_at_the_limit_and_counted(waiting: int, accepted: bool) -> None:
    rig = Rig(max_pending=3, flush_interval_s=3600.0)
    for number in range(waiting):
        rig.writer.put("lease", f"w{number}", number)
    before = rig.writer.status().dropped
    assert (rig.writer.put("lease", "one more", 0) > 0) is accepted
    assert rig.writer.status().dropped - before == (not accepted)
    assert rig.writer.put("lease", "w0", "changed") > 0
    assert rig.writer.delete("lease", "w1") > 0
    assert await rig.writer.close(DEADLINE_S)
    assert Entry("lease", "w0", rig.writer.status().sequence - 1, b'"changed"') in rig.store.load()


async def test_what_takes_the_place_of_another_finds_room_and_goes_with_it_in_one_batch() -> None:
    rig = Rig(max_pending=2, flush_interval_s=3600.0)
    rig.writer.put("task", "a", 1)
    rig.writer.hurry()
    await rig.settled()
    rig.writer.put("lease", "x", 2)
    rig.writer.put("lease", "y", 3)
    assert rig.writer.put("lease", "z", 4) == 0
    rig.writer.delete("task", "a")
    assert rig.writer.put("lease", "of a", 5, always=True) > 0
    rig.store.failures = 1  # tried again as a whole
    rig.writer.hurry()
    await rig.settled()
    puts, deletes = rig.store.batches[-1]
    assert [each.id for each in puts] == ["x", "y", "of a"]
    assert deletes == [("task", "a")]
    assert await rig.writer.close(DEADLINE_S)
    assert rig.writer.put("lease", "after the end", 6, always=True) == 0


async def test_a_failure_is_told_in_the_status_and_tried_again_with_what_came_since(rig: Rig) -> None:
    rig.store.failures = 3
    rig.store.gate.clear()
    rig.writer.put("lease", "a", "old")
    rig.writer.put("lease", "b", "gone")
    rig.writer.hurry()
    await asyncio.sleep(0)
    rig.writer.put("lease", "a", "new")
    rig.writer.delete("lease", "b")
    rig.store.gate.set()
    await rig.until_failures(1)
    status = rig.writer.status()
    assert (status.healthy, status.last_error) == (False, "journal x: has no room left")
    assert rig.told == []
    await rig.settled()
    assert rig.writer.status().healthy
    assert rig.writer.status().failures == 3
    assert rig.told == [4]
    assert rig.store.batches == [([Entry("lease", "a", 3, b'"new"')], [("lease", "b")])]


async def test_the_age_of_the_oldest_waiting_change_goes_on_through_failures() -> None:
    rig = Rig(first_backoff_s=3600.0)
    rig.store.failures = 1
    rig.writer.put("lease", "a", 1)
    await rig.until_failures(1)
    rig.now = 130.0
    rig.writer.put("lease", "b", 1)
    assert rig.writer.status().oldest_pending_age_s == 30.0
    assert rig.writer.status().pending == 2
    assert not await rig.writer.close(0.01)


async def test_a_value_that_cannot_be_encoded_does_not_hold_up_the_others(rig: Rig) -> None:
    rig.writer.put("lease", "bad", object())
    rig.writer.put("lease", "\ud800", 1)
    rig.writer.put("lease", "good", 1)
    await rig.settled()
    assert [entry.id for entry in rig.store.load()] == ["good"]
    status = rig.writer.status()
    assert status.dropped == 2
    assert "cannot be encoded" in (status.last_error or "")


async def test_close_writes_what_waits_closes_the_store_and_refuses_from_then_on() -> None:
    rig = Rig(flush_interval_s=3600.0)
    rig.writer.put("lease", "a", 1)
    assert await rig.writer.close(DEADLINE_S)
    assert [entry.id for entry in rig.store.load()] == ["a"]
    assert rig.store.closed
    assert rig.writer.put("lease", "a", 2) == 0
    assert await rig.writer.close(DEADLINE_S)


async def test_close_with_a_disk_that_hangs_keeps_its_deadline() -> None:
    rig = Rig()
    rig.store.gate.clear()
    rig.writer.put("lease", "a", 1)
    assert not await rig.writer.close(0.01)
    rig.store.gate.set()


async def test_a_journal_that_was_never_there_refuses_and_says_why() -> None:
    journal = UnavailableJournal("journal /x: is corrupt")
    assert (journal.put("lease", "a", 1), journal.delete("lease", "a")) == (0, 0)
    journal.hurry()
    status = journal.status()
    assert (status.healthy, status.dropped, status.last_error) == (False, 1, "journal /x: is corrupt")
    assert await journal.close(1.0)


KILLED = """
import asyncio, json, sys
from pathlib import Path
from scheduler_server.storage import Journal, JournalWriter

async def main():
    journal = Journal.open(Path(sys.argv[1]))
    writer = JournalWriter(
        journal,
        restored=journal.load(),
        encode=lambda value: json.dumps(value).encode(),
        persisted=lambda sequence: print(sequence, flush=True),
        loop=asyncio.get_running_loop(),
        flush_interval_s=0.001,
    )
    number = 0
    while True:
        while writer.status().pending > 2000:  # never refused, however slow the disk
            await asyncio.sleep(0)
        number += 1
        sequence = writer.put("lease", f"id-{number}", number)
        assert sequence == 2 * number - 1
        writer.delete("lease", f"id-{number // 2}" if number % 2 == 0 else "none")
        await asyncio.sleep(0)

asyncio.run(main())
"""


@pytest.mark.parametrize("lines", [1, 3, 40])
def test_all_that_was_reported_persisted_is_there_after_kill_minus_9(tmp_path: Path, lines: int) -> None:
    path = tmp_path / "journal"
    with subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for _ in range(lines):
            reported = int(child.stdout.readline())
        child.kill()
        reported = max([reported, *(int(line) for line in child.stdout.read().split("\n")[:-1])])
        assert child.wait() == -signal.SIGKILL
    journal = Journal.open(path)
    found = {entry.id: entry for entry in journal.load()}
    journal.close()
    # put(n) has sequence 2n - 1 and the delete after it 2n; an even n deletes n / 2. More than was reported
    # may be on disk, as a whole prefix; never less.
    durable = max([reported, *(entry.seq for entry in found.values())])
    for number in range(1, durable // 2 + 1):
        if 2 * number - 1 <= reported and f"id-{number}" not in found:
            assert 4 * number <= durable + 1, number
        if 4 * number <= reported:
            assert f"id-{number}" not in found, number
    assert all(json.loads(entry.body) == int(entry.id[3:]) for entry in found.values())
