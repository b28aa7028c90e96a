"""Child processes: commands in, answers out, none left behind.

A child reads one JSON object per line from its standard input and answers each with one line on its standard output;
its first line says that it is ready. It is the leader of a process group of its own, which is killed at the end, and it
goes by itself when its standard input ends, so that not even a killed parent leaves one behind.
"""

import asyncio
import contextlib
import json
import os
import resource
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any

import psutil

START_S = 120.0
"""Time for a child to be ready: 100,000 workers take a few seconds to load on a busy machine."""
_QUIT_S = 5.0


class ChildError(Exception):
    """A child failed, or did not answer in time."""


class Child:
    """One child process: `ask` it, then `close` it."""

    def __init__(self, module: str, *, interpreter: str = sys.executable, **arguments: Any) -> None:
        self.name = module.rpartition(".")[2]
        self._process = subprocess.Popen(
            [interpreter, "-m", module, json.dumps(arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
        self._read = bytearray()
        self.pid = self._process.pid
        self.ready: dict[str, Any] = {}

    def wait_ready(self) -> dict[str, Any]:
        """What the child says of itself once it runs."""
        self.ready = self.answer(START_S)
        return self.ready

    def tell(self, command: str, **arguments: Any) -> None:
        """Give a command; its answer is to be fetched."""
        stdin = self._process.stdin
        assert stdin is not None
        try:
            stdin.write(json.dumps({"command": command, **arguments}).encode() + b"\n")
        except BrokenPipeError as error:
            raise ChildError(f"{self.name} has ended") from error

    def answer(self, timeout_s: float) -> dict[str, Any]:
        """The next answer."""
        stdout = self._process.stdout
        assert stdout is not None
        until = time.monotonic() + timeout_s
        while b"\n" not in self._read:
            if not select.select([stdout], [], [], max(0.0, until - time.monotonic()))[0]:
                raise ChildError(f"{self.name} did not answer within {timeout_s:g} s")
            chunk = os.read(stdout.fileno(), 65_536)
            if not chunk:
                raise ChildError(f"{self.name} ended with code {self._process.wait(_QUIT_S)}")
            self._read += chunk
        line, _, rest = self._read.partition(b"\n")
        self._read = bytearray(rest)
        said: dict[str, Any] = json.loads(line)
        if "error" in said:
            raise ChildError(f"{self.name}: {said['error']}")
        return said

    def ask(self, command: str, timeout_s: float = 60.0, **arguments: Any) -> dict[str, Any]:
        """Give a command and wait for its answer."""
        self.tell(command, **arguments)
        return self.answer(timeout_s)

    def rss_bytes(self) -> int:
        """Resident memory of the child."""
        return int(psutil.Process(self.pid).memory_info().rss)

    def cpu_s(self) -> float:
        """Processor time that the child has used, user and system."""
        times = psutil.Process(self.pid).cpu_times()
        return float(times.user + times.system)

    def close(self) -> None:
        """End the child and whatever it started."""
        process = self._process
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()
        try:
            process.wait(_QUIT_S)
        except subprocess.TimeoutExpired:
            pass
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if process.stdout is not None:
                process.stdout.close()

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


# ---------------------------------------------------------------------------------------- in the child

Handler = Callable[..., Awaitable[Mapping[str, Any]]]


def arguments() -> dict[str, Any]:
    """What the parent gave the child on its command line."""
    given: dict[str, Any] = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
    return given


def raise_file_limit() -> None:
    """As many open files as the machine lets this process have: each connection is one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def obey(handlers: Mapping[str, Handler], ready: Mapping[str, Any]) -> None:
    """Say that the child is ready, then do what comes, one command after the other, until the parent goes."""
    raise_file_limit()
    loop = asyncio.get_running_loop()
    commands: asyncio.Queue[dict[str, Any]] = asyncio.Queue()  # bounded by the parent: it waits for each answer

    def listen() -> None:
        for line in sys.stdin.buffer:
            loop.call_soon_threadsafe(commands.put_nowait, json.loads(line))
        os._exit(0)  # the parent is gone; even a loop that hangs must not outlive it

    threading.Thread(target=listen, daemon=True, name="commands").start()
    _say(ready)
    while True:
        given = await commands.get()
        try:
            _say(await handlers[given.pop("command")](**given))
        except Exception as error:  # noqa: BLE001 -- whatever it is, the parent is to hear of it
            while isinstance(error, ExceptionGroup):
                error = error.exceptions[0]
            _say({"error": f"{type(error).__name__}: {error}"})


def _say(what: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()
