"""What may leave only once the journal has it: who waits for which sequence, and what a failing journal changes."""

import asyncio
from dataclasses import dataclass

import pytest

from scheduler_server.rpc import durable
from scheduler_server.rpc.durable import Durable

DEADLINE_S = 10.0


@dataclass
class State:
    persisted: int = 0
    healthy: bool = True


class Journal:
    """A journal that does as it is told."""

    def __init__(self) -> None:
        self.state = State()
        self.hurried = 0

    def hurry(self) -> None:
        self.hurried += 1

    @property
    def persisted(self) -> int:
        return self.state.persisted

    @property
    def healthy(self) -> bool:
        return self.state.healthy


@pytest.fixture
def journal() -> Journal:
    return Journal()


async def waiting(of: Durable, sequence: int, within_s: float = DEADLINE_S) -> "asyncio.Task[bool]":
    """Somebody who waits, and has begun to."""
    task = asyncio.create_task(of.wait(sequence, within_s))
    await asyncio.sleep(0)
    return task


async def test_who_waits_is_told_when_its_sequence_is_on_disk_and_not_before(journal: Journal) -> None:
    of = Durable(journal)
    late, early = await waiting(of, 5), await waiting(of, 3)  # callers need not come in the order of their sequences
    assert journal.hurried == 2
    of.persisted(2)
    assert not early.done()
    of.persisted(3)
    assert await early
    assert not late.done()
    of.persisted(7)
    assert await late


async def test_what_is_on_disk_already_is_waited_for_by_nobody(journal: Journal) -> None:
    journal.state.persisted = 4
    assert await Durable(journal).wait(4, 0.0)
    assert journal.hurried == 0


async def test_a_journal_that_fails_ends_the_wait(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durable, "_LOOK_S", 0.001)
    of = Durable(journal)
    task = await waiting(of, 1)
    journal.state.healthy = False
    assert not await asyncio.wait_for(task, DEADLINE_S)
    of.persisted(1)  # too late: nobody is there any more


async def test_a_disk_that_says_nothing_ends_the_wait_in_time(journal: Journal) -> None:
    assert not await asyncio.wait_for(Durable(journal).wait(1, 0.01), DEADLINE_S)


async def test_who_goes_while_it_waits_leaves_the_others_alone(journal: Journal) -> None:
    of = Durable(journal)
    gone, stays = await waiting(of, 1), await waiting(of, 1)
    gone.cancel()
    of.persisted(1)
    assert await stays


async def test_what_is_held_is_done_in_order_and_once(journal: Journal) -> None:
    of, done = Durable(journal), list[str]()
    loop = asyncio.get_running_loop()
    for sequence, name in ((1, "a"), (2, "b"), (2, "c"), (4, "d")):
        of.after(sequence, lambda name=name: done.append(name), loop)  # type: ignore[misc]
    assert done == []
    of.persisted(2)
    of.persisted(2)
    assert done == ["a", "b", "c"]
    of.persisted(4)
    assert done == ["a", "b", "c", "d"]


async def test_what_is_held_is_let_go_when_the_disk_does_not_come(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable, "HELD_AT_MOST_S", 0.01)
    of, done = Durable(journal), asyncio.Event()
    of.after(1, done.set, asyncio.get_running_loop())
    await asyncio.wait_for(done.wait(), DEADLINE_S)


@pytest.mark.parametrize("state", [State(persisted=1), State(healthy=False)], ids=["on disk", "failing"])
async def test_nothing_is_held_that_is_on_disk_or_for_a_journal_that_fails(journal: Journal, state: State) -> None:
    journal.state = state
    done: list[int] = []
    Durable(journal).after(1, lambda: done.append(1), asyncio.get_running_loop())
    assert done == [1]
