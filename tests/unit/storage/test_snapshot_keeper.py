"""When is it read and written, and what if the store is not there: on a store that fails when it is told to."""

import asyncio
import logging
from collections.abc import Iterable
from random import Random
from typing import Any

import pytest

from scheduler_server.storage import Edition, Memory, Pace, SnapshotContent, SnapshotError, SnapshotKeeper
from scheduler_server.storage.snapshot_keeper import LAST_RETRY_S


class Shelf:
    """A store in memory. `fault` is what every call fails with."""

    backend = "file"
    location = "shelf"

    def __init__(self, *records: bytes) -> None:
        self.records: list[bytes] | None = list(records) or None
        self.fault = ""
        self.kept = 0
        self.rival = ""
        self.editions: list[list[bytes]] = []

    def read(self) -> SnapshotContent:
        self._check()
        made = None if self.records is None else 50.0
        return SnapshotContent(records=self.records or [], created_at=made, version=1, warnings=("odd",), size_bytes=9)

    def keep(self) -> None:
        self.kept += 1

    def begin(self, *, created_at: float) -> "Shelf":
        self._pending: list[bytes] = []
        return self

    def append(self, records: Iterable[bytes]) -> None:
        self._check()
        self._pending += records

    def commit(self) -> Edition:
        self._check()
        self.editions.append(self._pending)
        return Edition(records=len(self._pending), size_bytes=7, rival=self.rival)

    def abort(self) -> None:
        pass

    def _check(self) -> None:
        if self.fault:
            raise SnapshotError(f"snapshot shelf: {self.fault}")


class Bench:
    """A keeper, what it keeps, and a clock that only the test moves."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self.known: list[dict[str, Any]] = []
        self.late: list[bool] = []
        self.wall = 100.0
        memory = Memory(records=lambda: list(self.known), restore=self._restore, untouched=lambda: not self.known)
        pace = Pace(interval_s=10.0, max_age_s=30.0)
        self.keeper = SnapshotKeeper(shelf, memory, pace, wall=lambda: self.wall, random=Random(1))

    def _restore(self, records: Iterable[dict[str, Any]], late: bool) -> list[str]:
        self.late.append(late)
        taken = list(records)
        self.known += [record for record in taken if "n" in record]
        return ["makes no sense"] * sum("n" not in record for record in taken)


async def test_what_is_there_at_the_start_is_taken_over_and_what_makes_no_sense_is_counted() -> None:
    bench = Bench(Shelf(b'{"n":1}', b"{}", b'{"n":2}', b"not a record"))
    await bench.keeper.load()
    assert bench.known == [{"n": 1}, {"n": 2}]
    assert bench.late == [False]
    assert (bench.keeper.restored_at, bench.keeper.records, bench.keeper.left_out) == (50.0, 4, 2)
    assert bench.keeper.warnings == ["odd", "snapshot: makes no sense"]
    assert bench.keeper.age_s() == 50.0
    await bench.keeper.close(1.0)
    assert bench.shelf.editions == []  # never started: nothing of it is to be written


async def test_a_store_that_is_back_late_is_taken_over_while_nothing_was_learned() -> None:
    bench = Bench(Shelf(b'{"n":1}'))
    bench.shelf.fault = "is away"
    await bench.keeper.load()
    assert (bench.known, bench.keeper.failures, bench.keeper.last_error) == ([], 1, "snapshot shelf: is away")
    bench.shelf.fault = ""
    assert await bench.keeper.write() == 1
    assert (bench.known, bench.late, bench.shelf.kept) == ([{"n": 1}], [True], 0)
    assert bench.keeper.failures == 0


async def test_what_was_learned_before_the_store_is_back_wins_and_what_it_held_is_to_be_kept() -> None:
    bench = Bench(Shelf(b'{"n":1}'))
    bench.shelf.fault = "is away"
    await bench.keeper.load()
    bench.known.append({"n": 9})
    bench.shelf.fault = ""
    assert await bench.keeper.write() == 1
    assert (bench.known, bench.shelf.kept) == ([{"n": 9}], 1)
    assert bench.shelf.editions == [[b'{"n":9}']]
    assert bench.keeper.restored_at is None
    assert any("memory stays as it is" in warning for warning in bench.keeper.warnings)
    await bench.keeper.write()
    assert bench.shelf.kept == 1


async def test_a_failure_is_told_when_it_begins_when_it_changes_and_when_it_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    bench = Bench(Shelf())
    await bench.keeper.load()
    caplog.clear()
    for fault in ("is away", "is away", "is full", "is full"):
        bench.shelf.fault = fault
        with pytest.raises(SnapshotError, match=fault):
            await bench.keeper.write()
    assert bench.keeper.failures == 4
    bench.shelf.fault = ""
    await bench.keeper.write()
    told = [record.getMessage() for record in caplog.records]
    assert told == [
        "snapshot shelf: is away; tried again every 1 to 60 s",
        "snapshot shelf: is full; tried again every 1 to 60 s",
        "snapshot shelf: works again after 4 failures",
    ]


async def test_the_pause_grows_from_one_second_to_a_minute_and_is_the_interval_when_all_is_well() -> None:
    bench = Bench(Shelf())
    assert bench.keeper._delay_s() == 10.0
    longest = []
    for failures in range(1, 40):
        bench.keeper.failures = failures
        pauses = [bench.keeper._delay_s() for _ in range(200)]
        assert min(pauses) >= 1.0
        assert max(pauses) <= min(LAST_RETRY_S, 2.0**failures)
        assert len(set(pauses)) > 100  # servers do not ask in step
        longest.append(max(pauses))
    assert longest[0] > 1.9
    assert longest[-1] > 59.0


async def test_the_age_is_judged_at_below_and_above_its_bound() -> None:
    bench = Bench(Shelf(b'{"n":1}'))
    await bench.keeper.load()
    bench.wall = 130.0  # a server that has just started is not late, however old what it found is
    assert bench.keeper.overdue() == ""
    bench.wall = 130.001
    assert "nothing was written for 30 s" in bench.keeper.overdue()
    await bench.keeper.write()
    assert (bench.keeper.overdue(), bench.keeper.age_s()) == ("", 0.0)
    bench.wall = 160.001
    assert bench.keeper.overdue() == ""
    bench.wall = 160.1
    assert bench.keeper.overdue()


async def test_a_rival_is_told_once_and_forgotten_when_it_is_gone() -> None:
    bench = Bench(Shelf())
    bench.shelf.rival = "another server"
    await bench.keeper.write()
    await bench.keeper.write()
    assert bench.keeper.rival == "another server"
    assert bench.keeper.warnings.count("snapshot shelf: another server") == 1
    bench.shelf.rival = ""
    await bench.keeper.write()
    assert bench.keeper.rival == ""


async def test_a_defect_of_a_strategy_keeps_nobody_from_starting_or_from_trying_again() -> None:
    bench = Bench(Shelf(b'{"n":1}'))

    def broken(*_: Any) -> Any:
        raise AttributeError("no such thing")

    memory = Memory(records=broken, restore=broken, untouched=lambda: True)
    keeper = SnapshotKeeper(bench.shelf, memory, Pace(interval_s=1, max_age_s=1), wall=lambda: 1.0, random=Random(1))
    await keeper.load()
    assert "snapshot: AttributeError: no such thing" in keeper.warnings
    with pytest.raises(SnapshotError, match="AttributeError"):
        await keeper.write()
    assert keeper.failures == 1


async def test_two_writes_at_once_come_one_after_the_other() -> None:
    bench = Bench(Shelf())
    await bench.keeper.load()
    bench.known = [{"n": number} for number in range(5_000)]  # several steps, between which the other could come
    assert sum(await asyncio.gather(bench.keeper.write(), bench.keeper.write())) == 10_000
    assert [len(edition) for edition in bench.shelf.editions] == [5_000, 5_000]
    assert bench.shelf.editions[0] == bench.shelf.editions[1]
    await bench.keeper.close(1.0)


async def test_the_last_edition_is_written_at_the_end_and_does_not_wait_for_ever() -> None:
    bench = Bench(Shelf())
    bench.keeper.start()
    bench.known.append({"n": 1})
    await bench.keeper.close(5.0)
    assert bench.shelf.editions == [[b'{"n":1}']]

    stuck = Bench(Shelf())
    stuck.keeper.start()
    async with stuck.keeper._busy:  # as a store holds it that does not answer
        await asyncio.wait_for(stuck.keeper.close(0.0), 5.0)
    assert stuck.shelf.editions == []
