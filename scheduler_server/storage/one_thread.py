"""One thread for what blocks: work in order, results as futures, and nobody waits for it at the exit."""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class OneThread:
    """Runs what it is given, one after another.

    Not a ThreadPoolExecutor: the interpreter joins an executor's threads when it exits, so a disk or a Redis that
    hangs would hang the exit. This thread is a daemon. Results go to a future of the loop itself: one of
    concurrent.futures, chained to it, would cost the loop more at each call.
    """

    def __init__(self, name: str) -> None:
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, what: Callable[[], object]) -> None:
        """Queue one call whose result, or failure, is nobody's. After `close` it is never run."""

        def call() -> None:
            with contextlib.suppress(Exception):
                what()

        self._work.put(call)

    async def run(self, what: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of one call. When cancelled, a call that has begun runs on, and its result is nobody's."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()

        def call() -> None:
            if answer.cancelled():
                return
            told: Callable[[Any], None]
            try:
                value: Any = what(*args, **kwargs)
                told = answer.set_result
            except BaseException as error:  # noqa: BLE001 -- it is the caller's, whatever it is
                value, told = error, answer.set_exception
            with contextlib.suppress(RuntimeError):  # the loop that waited for it is closed
                loop.call_soon_threadsafe(_tell, answer, told, value)

        self._work.put(call)
        return await answer

    def close(self) -> None:
        """Let the thread end after what is queued. Does not wait."""
        self._work.put(None)

    def _run(self) -> None:
        while (call := self._work.get()) is not None:
            call()
            del call  # a waiting thread must not hold what it was last given


def _tell(answer: "asyncio.Future[Any]", told: Callable[[Any], None], value: Any) -> None:
    if not answer.done():  # cancelled meanwhile
        told(value)
