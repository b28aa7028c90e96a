"""One thread for what blocks."""

import asyncio
import threading

import pytest

from scheduler_server.storage.one_thread import OneThread

DEADLINE_S = 10.0


async def test_calls_run_in_order_in_the_thread_and_their_results_come_to_the_loop() -> None:
    thread, seen = OneThread("t"), list[int]()

    def call(number: int, *, factor: int) -> tuple[str, int]:
        seen.append(number)
        return threading.current_thread().name, number * factor

    answers = await asyncio.gather(*(thread.run(call, number, factor=2) for number in range(20)))
    assert answers == [("t", 2 * number) for number in range(20)]
    assert seen == list(range(20))
    thread.close()


async def test_what_a_call_raises_is_raised_to_who_waits_for_it_and_the_next_runs() -> None:
    thread = OneThread("t")

    def fail() -> None:
        raise KeyError("k")

    with pytest.raises(KeyError):
        await thread.run(fail)
    assert await thread.run(lambda: 1) == 1
    thread.close()


async def test_a_call_that_is_given_up_before_it_began_is_never_run() -> None:
    thread, may, seen = OneThread("t"), threading.Event(), list[str]()
    first = asyncio.create_task(thread.run(may.wait, DEADLINE_S))
    second = asyncio.create_task(thread.run(seen.append, "second"))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    first.cancel()  # it has begun: it runs on, and its result is nobody's
    may.set()
    assert await thread.run(lambda: list(seen)) == []
    thread.close()


async def test_what_nobody_waits_for_may_fail_and_what_comes_after_the_end_is_not_run() -> None:
    thread, done = OneThread("t"), threading.Event()
    thread.submit(lambda: 1 // 0)
    thread.submit(done.set)
    assert await asyncio.to_thread(done.wait, DEADLINE_S)
    thread.close()
    late = threading.Event()
    thread.submit(late.set)
    thread._thread.join(DEADLINE_S)
    assert not late.is_set()
