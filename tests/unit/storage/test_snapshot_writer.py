"""Snapshots beside a loop."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from scheduler_server.storage import SnapshotError, SnapshotFile, SnapshotWriter


@pytest.fixture
def file(tmp_path: Path) -> SnapshotFile:
    return SnapshotFile(tmp_path / "state", format="test", version=1)


@pytest.fixture
async def writer(file: SnapshotFile) -> AsyncIterator[SnapshotWriter]:
    writer = SnapshotWriter(file, wall=lambda: 7.0)
    yield writer
    writer.close()


async def test_chunks_are_made_on_the_loop_and_others_run_between_them(
    file: SnapshotFile, writer: SnapshotWriter
) -> None:
    order: list[object] = []

    def chunks() -> Iterator[list[bytes]]:
        for number in range(5):
            order.append(threading.current_thread())
            yield [b"%d" % number] * 2

    async def other() -> None:
        while True:
            order.append("other")
            await asyncio.sleep(0)

    beside = asyncio.create_task(other())
    assert (await writer.write(chunks())).records == 10
    beside.cancel()
    made = [at for at, what in enumerate(order) if what == threading.main_thread()]
    assert len(made) == 5
    assert all(later - earlier > 1 for earlier, later in pairwise(made))
    content = file.read()
    assert content.records == [b"%d" % number for number in range(5) for _ in range(2)]
    assert content.created_at == 7.0


async def test_a_failure_is_told_and_leaves_the_edition_before(file: SnapshotFile, writer: SnapshotWriter) -> None:
    await writer.write([[b"good"]])

    def broken() -> Iterator[list[bytes]]:
        yield [b"x"]
        raise RuntimeError("state is odd")

    with pytest.raises(RuntimeError, match="state is odd"):
        await writer.write(broken())
    assert file.read().records == [b"good"]
    await writer.write([[b"better"]])
    assert not file.path.with_name("state.tmp").exists()


async def test_a_missing_folder_is_one_line(tmp_path: Path) -> None:
    writer = SnapshotWriter(SnapshotFile(tmp_path / "no" / "x", format="t", version=1), wall=lambda: 1.0)
    with pytest.raises(SnapshotError, match="No such file"):
        await writer.write([[b"x"]])
    writer.close()


async def test_a_cancelled_write_leaves_nothing_behind(file: SnapshotFile, writer: SnapshotWriter) -> None:
    reached = asyncio.Event()

    def endless() -> Iterator[list[bytes]]:
        while True:
            reached.set()
            yield [b"x"]

    task = asyncio.create_task(writer.write(endless()))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await writer.write([[b"after"]])
    assert file.read().records == [b"after"]
    assert sorted(found.name for found in file.path.parent.iterdir()) == ["state"]
