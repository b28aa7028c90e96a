"""Real processes: a server, SDK workers, and what tests ask them. All of them end with the test, come what may."""

import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Self, TypeVar

import psutil

from scheduler_api.v1 import admin_service_pb2 as admin_api
from scheduler_server.client import (
    AsyncSchedulerClient,
    Delivery,
    NoFreeSlot,
    Placement,
    ServerUnavailable,
    Task,
    TaskState,
    TaskStatus,
)

DEADLINE_S = 30.0
"""Far longer than anything here takes on two busy cores; a wait that reaches it fails the test."""

SERVING = "scheduler-server: serving on "
PLAIN_ENVIRONMENT = {"PATH": os.environ.get("PATH", os.defpath), "PYTHONUNBUFFERED": "1", "GRPC_VERBOSITY": "NONE"}

_HERE = Path(__file__).parent


async def until(true: Callable[[], Any], what: str, within_s: float = DEADLINE_S) -> float:
    """Wait for a condition; how long that took, in seconds."""
    since = time.monotonic()
    while not true():
        assert time.monotonic() - since < within_s, f"not within {within_s:g} s: {what}"
        await asyncio.sleep(0.01)
    return time.monotonic() - since


async def eventually(true: Callable[[], Awaitable[Any]], what: str, within_s: float = DEADLINE_S) -> float:
    """The same for a condition that has to ask somebody."""
    since = time.monotonic()
    while not await true():
        assert time.monotonic() - since < within_s, f"not within {within_s:g} s: {what}"
        await asyncio.sleep(0.01)
    return time.monotonic() - since


def free_port() -> int:
    """A port that is free and not among those the kernel gives to connections: a restarted server gets it again."""
    for _ in range(100):
        port = random.randint(20_000, 32_000)
        with socket.socket() as tried, contextlib.suppress(OSError):
            tried.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port between 20,000 and 32,000")


def flags(settings: Mapping[str, object]) -> list[str]:
    """`health_remove_after_s=4` as `--health-remove-after-s 4`."""
    return [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", str(value))]


def serve_command(*words: str) -> list[str]:
    """The command that runs a server."""
    return [sys.executable, "-m", "scheduler_server", "serve", *words]


class Child:
    """A process, and the lines that it has said so far. `close` ends it, whatever state it is in."""

    def __init__(
        self, command: Sequence[str], folder: Path, *, environ: Mapping[str, str] | None = None, plain: bool = False
    ) -> None:
        launch = [sys.executable, "-S", str(_HERE / "launch.py"), str(os.getpid()), *(["--plain"] if plain else [])]
        self.process = subprocess.Popen(
            [*launch, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
            env=PLAIN_ENVIRONMENT | {"HOME": str(folder)} | dict(environ or {}),
        )
        self.code: int | None = None  # once `ended` has told it
        self.lines: list[str] = []
        self.errors: list[str] = []
        self._readers = [
            threading.Thread(target=_collect, args=(pipe, into), daemon=True)
            for pipe, into in ((self.process.stdout, self.lines), (self.process.stderr, self.errors))
        ]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def tell(self, **words: Any) -> None:
        """Write one line of JSON to its stdin."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()

    async def ended(self, within_s: float = DEADLINE_S) -> int:
        """Its exit code, once it has ended by itself and all that it said has been read."""
        await until(lambda: not self.running, f"process {self.pid} ends; it says {self.errors[-20:]}", within_s)
        await until(lambda: not any(reader.is_alive() for reader in self._readers), "its pipes are closed")
        self.code = self.process.returncode
        return self.code

    def close(self) -> None:
        """End it now, SIGSTOPped or not."""
        self.process.kill()
        self.process.wait(DEADLINE_S)
        for reader in self._readers:
            reader.join(DEADLINE_S)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            with contextlib.suppress(BrokenPipeError):
                if pipe is not None:
                    pipe.close()


def _collect(pipe: IO[str] | None, into: list[str]) -> None:
    for line in pipe or ():
        into.append(line.removesuffix("\n"))  # noqa: PERF401 -- it is read while it grows


class Server(Child):
    """A server process, and a client of it."""

    address = ""
    client: AsyncSchedulerClient

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    async def serving(self) -> Self:
        """Wait for its address line."""
        await until(
            lambda: not self.running or any(line.startswith(SERVING) for line in self.lines), "the server serves"
        )
        said = [line for line in self.lines if line.startswith(SERVING)]
        assert said, f"the server did not start: {self.errors}"
        self.address = said[0].removeprefix(SERVING)
        # A pool of its own: otherwise the client of a server that went before on this port shares its pause with us.
        self.client = AsyncSchedulerClient(self.address, options=[("grpc.use_local_subchannel_pool", 1)])
        return self

    async def status(self) -> admin_api.GetStatusResponse:
        return await self.client.call(self.client.admin.GetStatus, admin_api.GetStatusRequest())

    async def workers(self) -> dict[str, admin_api.Worker]:
        """Every worker that it knows."""
        answer = await self.client.call(self.client.admin.ListWorkers, admin_api.ListWorkersRequest())
        return {worker.worker_id: worker for worker in answer.workers}

    async def health(self, worker_id: str) -> str:
        """Health of a worker it knows, "" of one that it does not."""
        worker = (await self.workers()).get(worker_id)
        return admin_api.WorkerHealth.Name(worker.health).removeprefix("WORKER_HEALTH_") if worker else ""

    async def connected(self, *worker_ids: str) -> None:
        """Wait until these workers have an open stream."""

        async def there() -> bool:
            known = await self.workers()
            return all(worker_id in known and known[worker_id].connected for worker_id in worker_ids)

        await eventually(there, f"connected: {', '.join(worker_ids)}")

    async def hand_over(self, task: Task, *, patience: float = DEADLINE_S, explain: bool = False) -> Placement:
        """Place a task that goes to its worker over the stream."""
        return await self.client.assign(task, delivery=Delivery.STREAM, patience=patience, explain=explain)

    async def finished(self, *tasks: Task) -> dict[str, TaskStatus]:
        """Wait until these tasks are over, and say how each ended."""
        over: dict[str, TaskStatus] = {}

        async def all_over() -> bool:
            for task in tasks:
                if task.task_id not in over:
                    status = await self.client.get_task(task.task_id, tenant=task.tenant, attempt=task.attempt)
                    if status.state not in ENDED:
                        return False
                    over[task.task_id] = status
            return True

        await eventually(all_over, f"over: {len(tasks)} tasks")
        return over

    async def state(self, task: Task) -> TaskState:
        """Where a task stands."""
        return (await self.client.get_task(task.task_id, tenant=task.tenant, attempt=task.attempt)).state

    async def terminate(self, within_s: float = DEADLINE_S) -> int:
        """SIGTERM, and the exit code."""
        self.signal(signal.SIGTERM)
        return await self.ended(within_s)


ENDED = frozenset({TaskState.FINISHED, TaskState.CANCELLED, TaskState.LOST})


class WorkerProcess(Child):
    """An SDK worker in a process of its own, and what its handlers said: see `worker_program.py`."""

    worker_id = ""

    @property
    def said(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in list(self.lines)]

    def began(self) -> list[tuple[str, int]]:
        """Tasks and attempts that its handlers began, in order."""
        return [(each["began"], each["attempt"]) for each in self.said if "began" in each]

    def ended_tasks(self) -> list[tuple[str, int]]:
        """Those that ran to their end, not stopped."""
        return [(each["ended"], each["attempt"]) for each in self.said if "ended" in each and not each["stopped"]]


AnyChild = TypeVar("AnyChild", bound=Child)


class House:
    """Starts processes; ends them all, and proves that none is left."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._children: list[Child] = []
        self._before = {child.pid for child in psutil.Process().children(recursive=True)}

    def child(self, command: Sequence[str], **options: Any) -> Child:
        """Any command."""
        return self.keep(Child(command, self.folder, **options))

    async def server(self, *, port: int = 0, folder: str = "state", **settings: Any) -> Server:
        """A server, once it serves; the same `folder` again is a restart."""
        words = {"server_listen": f"127.0.0.1:{port}", "storage_state_folder": self.folder / folder}
        server = self.keep(Server(serve_command(*flags(words | settings)), self.folder))
        return await server.serving()

    def keep(self, child: AnyChild) -> AnyChild:
        """End this one too."""
        self._children.append(child)
        return child

    def worker(self, address: str, worker_id: str, **about: Any) -> WorkerProcess:
        """An SDK worker. It connects by itself, sooner or later."""
        told = json.dumps({"address": address, "worker_id": worker_id, **about})
        worker = WorkerProcess([sys.executable, str(_HERE / "worker_program.py"), told], self.folder)
        worker.worker_id = worker_id
        return self.keep(worker)

    async def workers(self, server: Server, *worker_ids: str, **about: Any) -> list[WorkerProcess]:
        """SDK workers, once they are connected."""
        made = [self.worker(server.address, worker_id, **about) for worker_id in worker_ids]
        await server.connected(*worker_ids)
        return made

    async def close(self) -> None:
        for child in self._children:
            if isinstance(child, Server) and child.address:
                await child.client.close()
            child.close()
        left = [child for child in psutil.Process().children(recursive=True) if child.pid not in self._before]
        assert not left, f"processes left behind: {left}"


@contextlib.asynccontextmanager
async def housed(folder: Path) -> AsyncIterator[House]:
    """A house for one test."""
    house = House(folder)
    try:
        yield house
    finally:
        await house.close()


def nap(task_id: str, seconds: float, *, task_type: str = "nap", **fields: Any) -> Task:
    """A task that sleeps."""
    return Task(task_id=task_id, task_type=task_type, payload=json.dumps({"s": seconds}).encode(), **fields)


class Load:
    """Naps offered one after another to whatever server is there, each until it is placed or given up.

    A refusal for want of a slot is asked again. A call that got no answer is not: what became of it is not known.
    """

    def __init__(self, name: str, seconds: Callable[[], float], interval_s: float) -> None:
        self._name, self._seconds, self._interval_s = name, seconds, interval_s
        self.placed: dict[str, tuple[Task, Placement, float]] = {}  # with the monotonic second of the answer
        self.unanswered: list[str] = []

    async def run(self, client: AsyncSchedulerClient) -> None:
        """Offer until cancelled, or until the server is gone."""
        number = len(self.placed) + len(self.unanswered)
        while True:
            number += 1
            task = nap(f"{self._name}-{number}", self._seconds())
            try:
                placement = await client.assign(task, delivery=Delivery.STREAM)
            except NoFreeSlot:
                number -= 1
            except ServerUnavailable:
                self.unanswered.append(task.task_id)
                return
            else:
                self.placed[task.task_id] = (task, placement, time.monotonic())
            await asyncio.sleep(self._interval_s)
