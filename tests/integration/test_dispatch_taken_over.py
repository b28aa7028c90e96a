"""A server that could not refresh its entries, at moments when that is easily overlooked."""

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scheduler_server.dispatch.entries import Delivered
from scheduler_server.dispatch.intake import Met
from tests.dispatch_house import DURABLE, TASKS, Running, Stream, running, settings, until
from tests.redis_server import redis_server


@pytest.fixture
def stream(tmp_path: Path) -> Iterator[Stream]:
    with redis_server(tmp_path / "redis", *DURABLE) as server:
        yield Stream(server)


async def two_tasks(stream: Stream, server: Running) -> str:
    """One of them will be another server's; its entry."""
    lost = stream.add("lost")
    stream.add("kept")
    await until(lambda: len(server.app.core.queue.waiting) == 2, "both wait")
    return lost


def away(stream: Stream, server: Running, lost: str) -> None:
    """As after a stop of an hour, in which another server took one over."""
    stream.client.xclaim(TASKS, "scheduler-server", "other", 0, [lost])
    server.dispatcher.ownership.refreshed_at -= 3_600.0


async def test_while_a_server_still_asks_whose_its_entries_are_it_hands_over_none_of_them(
    stream: Stream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(settings(stream.server.url, tmp_path / "state")) as server:
        away(stream, server, await two_tasks(stream, server))
        gateway = server.dispatcher._asks
        whose, asking, answers = gateway.whose, threading.Event(), threading.Event()

        def slow(*arguments: Any) -> list[str]:
            asking.set()
            assert answers.wait(20.0)
            return whose(*arguments)

        monkeypatch.setattr(gateway, "whose", slow)
        refresh = asyncio.create_task(server.dispatcher.ownership.refresh())
        await until(asking.is_set, "it asks whose they are")
        server.workers.start("w", slots=2)
        await until(lambda: len(server.app.core.ledger.leases) == 2, "both have a lease")
        answers.set()
        await refresh
        await until(lambda: server.workers.count()["kept"], "what is still ours runs")
        await until(lambda: not server.app.core.fleet.records["w"].leases, "no lease is left")
        assert server.workers.count() == {"kept": 1}
        await until(lambda: stream.pending() == 1, "what ran is acknowledged; the other one is another server's")


async def test_a_server_that_was_stopped_while_it_wrote_a_lease_down_asks_before_it_hands_over(
    stream: Stream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(settings(stream.server.url, tmp_path / "state")) as server:
        lost = await two_tasks(stream, server)
        durable, written = server.app.shell.durable, list[Callable[[], None]]()

        def after(_sequence: int, then: Callable[[], None], _loop: Any, *, hurry: bool = True) -> None:
            assert hurry  # a lease, not an answer to a heartbeat
            written.append(then)

        with monkeypatch.context() as patch:
            patch.setattr(durable, "after", after)
            server.workers.start("w", slots=2)
            await until(lambda: len(written) == 2, "both leases are being written down")
        away(stream, server, lost)
        for then in written:
            then()
        await until(lambda: server.workers.count()["kept"], "what is still ours runs")
        await until(lambda: not server.app.core.fleet.records["w"].leases, "no lease is left")
        assert server.workers.count() == {"kept": 1}
        await until(lambda: stream.pending() == 1, "what ran is acknowledged; the other one is another server's")


async def test_a_lease_that_was_taken_back_before_its_hand_over_is_no_cancellation_of_its_task(
    stream: Stream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(settings(stream.server.url, tmp_path / "state", dispatch={"claim_after_s": 1.0})) as server:
        await two_tasks(stream, server)
        gateway, keeper = server.dispatcher._asks, server.dispatcher.keeper
        own, answers = gateway.own, threading.Event()

        def slow(*arguments: Any) -> list[tuple[str, int]]:
            assert answers.wait(20.0)
            return own(*arguments)

        monkeypatch.setattr(gateway, "own", slow)
        server.dispatcher.ownership.refreshed_at -= 3_600.0
        server.workers.start("w", slots=2)
        await until(lambda: len(keeper) == 2, "both have leases, and are kept back")
        keeper.give_back()  # as where Redis is away
        assert not server.dispatcher.holdings.known, "they are Redis' again"
        answers.set()
        await until(stream.idle, "they were read again, and acknowledged")
        await until(lambda: server.workers.count() == {"lost": 1, "kept": 1}, "and have run")


async def test_an_entry_that_another_server_took_before_it_was_read_again_is_left_to_that_one(
    stream: Stream, tmp_path: Path
) -> None:
    async with running(settings(stream.server.url, tmp_path / "state")) as server:
        lost = await two_tasks(stream, server)
        gone = stream.add("gone")
        await until(lambda: len(server.dispatcher.holdings) == 3, "all are held")
        kept = next(
            str(each.entry_id) for each in server.dispatcher.holdings.known if each.entry_id not in {lost, gone}
        )
        stream.client.xdel(TASKS, gone)
        stream.client.xclaim(TASKS, "scheduler-server", "other", 0, [lost])
        found = await server.dispatcher._read_in(server.dispatcher._reads.fetch, TASKS, [lost, kept, gone])
        assert {each.source.entry_id: each.fields.get(b"task_id") for each in found} == {kept: b"kept", gone: None}
        (row,) = stream.client.xpending_range(TASKS, "scheduler-server", lost, lost, 1)
        assert row["consumer"] == b"other"


async def test_after_redis_itself_stood_still_no_server_takes_what_another_could_not_refresh(
    stream: Stream, tmp_path: Path
) -> None:
    quick = {"claim_after_s": 2.0, "timeout_s": 0.5}
    one, two = (settings(stream.server.url, tmp_path / name, dispatch=quick) for name in ("one", "two"))
    async with running(one) as first:
        for number in range(50):
            stream.add(f"t{number}")
        await until(lambda: len(first.app.core.queue.waiting) == 50, "all wait")
        async with running(two) as second:
            await until(lambda: second.dispatcher.link.works, "both are there")
            await asyncio.sleep(2.1)  # by now the second one may take over
            stream.server.signal(signal.SIGSTOP)
            await asyncio.sleep(2.5)
            stream.server.signal(signal.SIGCONT)
            await until(lambda: first.dispatcher.link.works and second.dispatcher.link.works, "both are there again")
            await asyncio.sleep(2.5)
            assert not second.dispatcher.intake.met[Met.CLAIMED]
            await until(lambda: len(first.app.core.queue.waiting) == 50, "all wait where they did")
        first.workers.start("w", slots=8)
        await until(stream.idle, "all are acknowledged")
        assert set(first.workers.count().values()) == {1}


async def test_who_could_not_reach_redis_gives_the_others_time_before_it_takes_over(
    stream: Stream, tmp_path: Path
) -> None:
    async with running(settings(stream.server.url, tmp_path / "state", dispatch={"claim_after_s": 1.5})) as server:
        entry_id = stream.add("t")
        await until(lambda: len(server.app.core.queue.waiting) == 1, "it reads")
        ownership = server.dispatcher.ownership
        ownership.out_of_touch()
        await ownership.refresh()
        again = server.app.shell.now().monotonic
        stream.client.xclaim(TASKS, "scheduler-server", "other", 0, [entry_id], idle=60_000)
        await until(lambda: server.dispatcher.intake.met[Met.CLAIMED], "it takes over")
        assert server.app.shell.now().monotonic - again >= 1.5


async def test_entries_that_were_read_so_long_ago_that_another_may_have_them_are_asked_for_again(
    stream: Stream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(settings(stream.server.url, tmp_path / "state", dispatch={"claim_after_s": 1.5})) as server:
        await until(lambda: server.dispatcher.link.works, "it reads")
        gateway = server.dispatcher._reads
        read, lost, asks = gateway.read, list[str](), threading.Event()

        def slow(*arguments: Any) -> list[Delivered]:
            asks.set()
            found = read(*arguments)
            if found and not lost:  # as if the server had been stopped before it read the answer
                lost.append(found[0].source.entry_id)
                stream.client.xclaim(TASKS, "scheduler-server", "other", 0, lost)
                time.sleep(1.2)
            return found

        monkeypatch.setattr(gateway, "read", slow)
        monkeypatch.setattr(server.dispatcher._asks, "take_over", lambda *_: ("0-0", 0))  # the other server lives
        server.workers.start("w", slots=2)
        await until(asks.is_set, "no earlier question is open")
        with stream.client.pipeline() as both:
            for task in ("lost", "kept"):
                both.xadd(TASKS, {"task_id": task, "task_type": "work"})
            both.execute()
        await until(lambda: server.workers.count()["kept"], "what is still ours runs")
        await until(lambda: stream.pending() == 1, "and is acknowledged; the other one is another server's")
        assert server.workers.count() == {"kept": 1}
