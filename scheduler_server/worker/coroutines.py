"""A loop for async handlers: the caller's, or one in a thread. gRPC is not on it, so it may be blocked."""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Coroutine

log = logging.getLogger(__name__)

START_S = 10.0  # a new thread that has not come so far by then never will
CLOSE_S = 1.0  # time for cancelled handlers to clean up


class Coroutines:
    """Runs coroutines by key, handed in from any thread. `_group` is their parent while `main` runs."""

    def __init__(self) -> None:
        self._ready = threading.Event()
        self._start_lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._group: asyncio.TaskGroup | None = None
        self._closing: asyncio.Event | None = None

    async def main(self) -> None:
        """Lend this loop until close is called."""
        self._closing = asyncio.Event()
        async with asyncio.TaskGroup() as self._group:
            self._loop = asyncio.get_running_loop()
            self._ready.set()
            try:
                await self._closing.wait()
            finally:
                for task in self._tasks.values():
                    task.cancel()

    def start(self, key: str, begin: Callable[[], Coroutine[None, None, None]]) -> None:
        """Run a coroutine under a key that is free. It has to deal with its own exceptions."""
        self._own_loop()
        self._call(lambda: self._spawn(key, begin))

    def cancel(self, key: str) -> None:
        """Cancel what runs under that key, if anything does."""
        if self._ready.is_set():
            self._call(lambda: self._cancel(key))

    def close(self) -> None:
        """Cancel what runs and give the loop back; a blocked loop is left to itself."""
        if not self._ready.is_set():
            return
        self._call(lambda: self._closing.set() if self._closing else None)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(CLOSE_S)

    def _own_loop(self) -> None:
        with self._start_lock:
            if not self._ready.is_set():
                run = lambda: asyncio.run(self.main())  # noqa: E731 - a thread's target, named by the thread
                self._thread = threading.Thread(target=run, name="worker-handlers", daemon=True)
                self._thread.start()
                if not self._ready.wait(START_S):
                    raise RuntimeError(f"the loop for async handlers did not start within {START_S} s")

    def _call(self, action: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nothing runs on it any more
            if self._loop is not None:
                self._loop.call_soon_threadsafe(action)

    def _spawn(self, key: str, begin: Callable[[], Coroutine[None, None, None]]) -> None:
        if self._group is None or (self._closing is not None and self._closing.is_set()):
            return
        task = self._group.create_task(begin(), name=f"task {key}")
        self._tasks[key] = task
        task.add_done_callback(lambda _: self._tasks.pop(key, None))

    def _cancel(self, key: str) -> None:
        # Not at once: a task cancelled before its first step never runs, and nobody would hear of its end.
        if self._loop is not None and (task := self._tasks.get(key)):
            self._loop.call_soon(task.cancel)
