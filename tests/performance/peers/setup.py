"""Starting the three systems: servers, worker processes, one client process each. All end with the `with` block."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from scheduler_server.scorer.settings import ScorerSettings
from tests.performance.processes import START_S, Child, ChildError
from tests.redis_server import RedisServer, any_executable

PEERS_PYTHON = Path("build/peers-venv/bin/python")
_LAUNCH = Path("tests/integration/launch.py")
_GONE_S = 5.0


class System:
    """One system that runs: its client process, and every process whose processor time it costs."""

    def __init__(self, client: Child, parts: dict[str, list[int]]) -> None:
        self._client = client
        self._parts = {"client": [client.pid], **parts}

    def run(self, way: str, seconds: float, ramp_s: float, in_flight: int, size: int) -> dict[str, Any]:
        """One window: `per_s`, `took_us`, and processor time by part in seconds."""
        before = self._cpu_s()
        found = self._client.ask(
            "run", seconds + 120.0, way=way, seconds=seconds, ramp_s=ramp_s, in_flight=in_flight, size=size
        )
        after = self._cpu_s()
        return {**found, "cpu_s": {part: after[part] - before[part] for part in after}}

    @property
    def versions(self) -> dict[str, str]:
        """What the client says that it runs on."""
        return dict(self._client.ready.get("versions", {}))

    def _cpu_s(self) -> dict[str, float]:
        return {part: sum(_cpu_s(pid) for pid in pids) for part, pids in self._parts.items()}


@contextmanager
def ours(folder: Path, workers: int, slots: int, *, threads: bool = False, watched: bool = True) -> Iterator[System]:
    """The real server with its journal and its decision log, and workers made with the SDK.

    `threads`: the handler is a plain function, else a coroutine. `watched`: the client hears of every end.
    """
    with ExitStack() as stack:
        server = stack.enter_context(
            Child(
                "tests.performance.ours_server",
                scorer=ScorerSettings().strategy,
                state_folder=str(folder / "ours"),
                workers=0,
            )
        )
        address = server.wait_ready()["address"]
        made = [
            stack.enter_context(
                Child(
                    "tests.performance.peers.ours_worker",
                    address=address,
                    worker_id=f"peer-{number}",
                    slots=slots,
                    threads=threads,
                )
            )
            for number in range(workers)
        ]
        for worker in made:
            worker.wait_ready()
        _until(lambda: server.ask("status")["streams"] == workers, "not every worker of ours has connected")
        client = stack.enter_context(Child("tests.performance.peers.ours_client", address=address, watched=watched))
        client.wait_ready()
        yield System(client, {"server": [server.pid], "workers": [worker.pid for worker in made]})


@contextmanager
def dask(folder: Path, workers: int, threads: int, *, saturation: str = "inf") -> Iterator[System]:
    """A scheduler and worker processes as its command line starts them, without nannies and dashboards.

    On uvloop, as we are; `saturation`: how many tasks beyond its threads a worker is given (1.1 as delivered).
    """
    environment = {
        "DASK_DISTRIBUTED__ADMIN__EVENT_LOOP": "uvloop",
        "DASK_DISTRIBUTED__SCHEDULER__WORKER_SATURATION": saturation,
    }
    port = _free_port()
    address = f"tcp://127.0.0.1:{port}"
    quiet = ["--no-dashboard", "--host", "127.0.0.1"]
    with ExitStack() as stack:
        command = ["-m", "distributed.cli.dask_scheduler", "--port", str(port), *quiet]
        scheduler = stack.enter_context(_program(folder / "dask-scheduler.log", command, environment))
        made = []
        for number in range(workers):
            command = ["-m", "distributed.cli.dask_worker", address, "--nthreads", str(threads), "--no-nanny", *quiet]
            command += ["--local-directory", str(folder / f"dask-{number}"), "--memory-limit", "0"]
            made.append(stack.enter_context(_program(folder / f"dask-worker-{number}.log", command, environment)))
        client = stack.enter_context(
            Child(
                "tests.performance.peers.dask_client",
                interpreter=str(PEERS_PYTHON),
                scheduler=address,
                workers=workers,
            )
        )
        client.wait_ready()
        yield System(client, {"server": [scheduler], "workers": made})


@contextmanager
def celery(folder: Path, workers: int, *, pool: str = "solo", threads: int = 1) -> Iterator[System]:
    """A real Redis, and workers of Celery: of "solo" and "threads" a process each, of "prefork" one with children."""
    with ExitStack() as stack:
        redis = RedisServer(folder / "redis", any_executable())
        stack.callback(redis.stop)
        redis.start()
        url = f"{redis.url}/0"
        masters = []
        processes, concurrency = (1, workers) if pool == "prefork" else (workers, threads)
        for number in range(processes):
            command = ["-m", "celery", "-A", "tests.performance.peers.celery_tasks", "-b", url, "--result-backend", url]
            command += ["worker", "-P", pool, "-c", str(concurrency), "-n", f"peer-{number}@localhost", "-l", "WARNING"]
            command += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
            masters.append(stack.enter_context(_program(folder / f"celery-{number}.log", command, {})))
        client = stack.enter_context(
            Child("tests.performance.peers.celery_client", interpreter=str(PEERS_PYTHON), redis=url)
        )
        client.wait_ready()
        yield System(client, {"server": [_listening(redis)], "workers": masters})


@contextmanager
def _program(log: Path, words: list[str], environment: dict[str, str]) -> Iterator[int]:
    """A program of the peers' environment, as long as the block lasts: its process id. It dies with this process."""
    command = [sys.executable, "-S", str(_LAUNCH), str(os.getpid()), str(PEERS_PYTHON), *words]
    with log.open("ab") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=file, env={**os.environ, **environment}, start_new_session=True
        )
    try:
        yield process.pid
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GONE_S)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _cpu_s(pid: int) -> float:
    """Of a process and its children: our server's log is written by one, prefork's tasks are run by some."""
    process = psutil.Process(pid)
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return float(sum(each.user + each.system for each in times))


def _until(true: Any, why: str) -> None:
    until = time.monotonic() + START_S
    while not true():
        if time.monotonic() > until:
            raise ChildError(why)
        time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        return int(tried.getsockname()[1])


def _listening(redis: RedisServer) -> int:
    return int(redis.client().info("server")["process_id"])
