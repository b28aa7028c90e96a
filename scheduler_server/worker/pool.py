"""Threads for handlers. Not concurrent.futures: its threads keep alive a process that is to end."""

import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue

log = logging.getLogger(__name__)


class DaemonPool:
    """As many threads as jobs have run at once; they are kept, since handlers cache connections in them.

    How many jobs there may be at once is the caller's to bound (a worker's slots).
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads = 0
        self._busy = 0
        self._closed = False

    def submit(self, job: Callable[[], None]) -> None:
        """Run the job on a thread that is free, or on a new one. After close nothing is run."""
        with self._lock:
            if self._closed:
                return
            self._busy += 1
            self._jobs.put(job)
            if self._busy > self._threads:
                self._threads += 1
                name = f"{self._name}-{self._threads}"
                threading.Thread(target=self._work, name=name, daemon=True).start()

    def close(self) -> None:
        """Let threads end after their present job; nobody waits for them."""
        with self._lock:
            self._closed = True
            for _ in range(self._threads):
                self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except BaseException:  # the thread is shared: whatever one job does, the next one finds it alive
                log.exception("a job of %s failed", self._name)
            finally:
                with self._lock:
                    self._busy -= 1
