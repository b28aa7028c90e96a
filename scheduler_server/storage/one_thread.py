"""One thread for what blocks: work in order, results as futures, and nobody waits for it at the exit."""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class OneThread:
    """Runs what it is given, one after another.

    Not a ThreadPoolExecutor: the interpreter joins an executor's threads when it exits, so a disk or a Redis that
    hangs would hang the exit. This thread is a daemon.
    """

    def __init__(self, name: str) -> None:
        self._work: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, what: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        """Queue one call. After `close` it is never run."""
        future: Future[T] = Future()
        self._work.put((future, lambda: what(*args, **kwargs)))
        return future

    async def run(self, what: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of one call. When cancelled, a call that has begun runs on, and its result is nobody's."""
        return await asyncio.wrap_future(self.submit(what, *args, **kwargs))

    def close(self) -> None:
        """Let the thread end after what is queued. Does not wait."""
        self._work.put(None)

    def _run(self) -> None:
        while (given := self._work.get()) is not None:
            future, call = given
            if not future.set_running_or_notify_cancel():
                continue
            with contextlib.suppress(RuntimeError):  # the loop that waited for it is closed
                try:
                    future.set_result(call())
                except BaseException as error:  # noqa: BLE001 -- it is the caller's, whatever it is
                    if not future.done():
                        future.set_exception(error)
            del future, call, given  # a waiting thread must not hold what it was last given
