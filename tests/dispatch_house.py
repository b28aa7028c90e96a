"""A server in this process that takes its tasks from a real Redis, workers of the SDK, and what tests say to them."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from scheduler_server.app import App
from scheduler_server.dispatch.dispatcher import Dispatcher
from scheduler_server.dispatch.settings import DispatchSettings
from scheduler_server.rpc.server import ServerSettings
from scheduler_server.settings import Settings, StorageSettings
from scheduler_server.worker import TaskContext, Worker
from tests.redis_server import RedisServer

DEADLINE_S = 20.0

TASKS = "{scheduler-server}:tasks"
DEAD = "{scheduler-server}:dead-letters"
GROUP = "scheduler-server"
DURABLE = ("--appendonly", "yes", "--appendfsync", "always")


async def until(condition: Callable[[], Any], what: str, within_s: float = DEADLINE_S) -> Any:
    """Wait until something has become true; what it answered."""
    ends = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < ends, f"did not happen: {what}"
        await asyncio.sleep(0.005)
    return found


class Stream:
    """The task stream as a queue service and an operator see it."""

    def __init__(self, redis: RedisServer, **options: Any) -> None:
        self.server = redis
        self.client = redis.client(**options)

    def add(self, task_id: str, *, stream: str = TASKS, **fields: Any) -> str:
        entry = {"task_id": task_id, "task_type": "work", **fields}
        return str(self.client.xadd(stream, entry).decode())

    def pending(self, stream: str = TASKS) -> int:
        return int(self.client.xpending(stream, GROUP)["pending"])

    def idle(self, stream: str = TASKS) -> bool:
        """Has the group read everything, and acknowledged it?"""
        groups = [each for each in self.client.xinfo_groups(stream) if each["name"] == GROUP.encode()]
        if not groups or groups[0]["pending"]:
            return False
        last = self.client.xrevrange(stream, count=1)
        return not last or groups[0]["last-delivered-id"] == last[0][0]

    def dead(self) -> list[dict[str, Any]]:
        """Dead letters, oldest first, texts as text."""
        return [
            {name.decode(): value.decode(errors="replace") for name, value in fields.items()}
            for _, fields in self.client.xrange(DEAD)
        ]


class Workers:
    """SDK workers of this process, and what they ran."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._running: list[Worker] = []
        self.ran: list[tuple[str, int, bytes, str]] = []  # task id, attempt, payload, worker
        self.gate = threading.Event()
        self.gate.set()

    def start(self, worker_id: str, *, slots: int = 2, **options: Any) -> Worker:
        worker = Worker(self._address, worker_id=worker_id, slots=slots, **options)

        @worker.task("work")
        def work(task: TaskContext) -> bytes:
            self.ran.append((task.task_id, task.attempt, task.payload, worker_id))
            self.gate.wait(DEADLINE_S)
            return task.payload

        worker.start()
        self._running.append(worker)
        return worker

    def count(self) -> Counter[str]:
        return Counter(task_id for task_id, _, _, _ in self.ran)

    async def stop(self) -> None:
        self.gate.set()
        for worker in self._running:
            await asyncio.to_thread(worker.stop, 5.0)


def settings(url: str, folder: Path | str = "", **parts: Any) -> Settings:
    """A server on a free port. `dispatch` are settings of the dispatcher."""
    dispatch = {"url": url, "timeout_s": 2.0, **parts.pop("dispatch", {})}
    return Settings(
        server=ServerSettings(listen="127.0.0.1:0"),
        storage=StorageSettings(state_folder=str(folder), **parts.pop("storage", {})),
        dispatch=DispatchSettings(**dispatch),
        **parts,
    )


class Running:
    """A server that runs, and its workers."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.workers = Workers(app.address)

    @property
    def dispatcher(self) -> Dispatcher:
        found = self.app.stores.tasks
        assert found is not None
        return found


@asynccontextmanager
async def running(configured: Settings) -> AsyncIterator[Running]:
    """A server while it runs."""
    app = App(configured)
    await app.start()
    server = Running(app)
    try:
        yield server
    finally:
        await server.workers.stop()
        await app.stop(0.0)
