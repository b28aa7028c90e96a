"""A ClickHouse for tests: a real server by URL where one is given, else the engine of one behind our own TCP front.

SCHEDULER_TEST_CLICKHOUSE_URL names a real server (clickhouse://user:password@host:port); each test makes a database of
its own there and drops it. Otherwise chdb behind `clickhouse_front.py` is started, from the environment that
`make clickhouse` makes. Where neither is, tests are skipped; under CI=true that is a failure.
"""

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from clickhouse_driver import Client

from scheduler_server.storage.decision_log.clickhouse_url import ClickHouseAddress, parse

_HERE = Path(__file__).parent
_LAUNCH = _HERE / "integration" / "launch.py"
_FRONT = _HERE / "clickhouse_front.py"
PYTHON = _HERE.parent / "build" / "chdb-venv" / "bin" / "python"
"""Of the environment with chdb, which is too large for everybody's."""

_STARTED_WITHIN_S = 60.0
URL = "SCHEDULER_TEST_CLICKHOUSE_URL"


class ClickHouse:
    """A server. `stop` and `start` are for those that a test may stop."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.given = os.environ.get(URL, "")
        self._base = parse(self.given) if self.given else None
        self.port = 0

    def start(self) -> "ClickHouse":
        if self._base is not None:
            return self
        if not PYTHON.exists():
            why = f"no ClickHouse: `make clickhouse` installs an engine, {URL} names a server"
            if os.environ.get("CI") == "true":
                pytest.fail(f"{why}, and this is CI")
            pytest.skip(why)
        self._folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-S", str(_LAUNCH), str(os.getpid()), str(PYTHON), str(_FRONT)]
        command += [str(self._folder / "data"), *([str(self.port)] if self.port else [])]
        log = self._folder / "front.log"
        with log.open("ab") as errors:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, bufsize=0)
        assert self._process.stdout is not None
        told = self._process.stdout.readline()  # ends when it dies, too
        assert told.strip().isdigit(), log.read_text()[-2_000:]
        self.port = int(told)
        return self

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def signal(self, number: int) -> None:
        assert self._process is not None, "a server that is given cannot be signalled"
        self._process.send_signal(number)

    def stop(self) -> None:
        """At once, whatever state it is in."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)
            if self._process.stdout is not None:
                self._process.stdout.close()
            self._process = None

    def address(self, database: str, host: str = "", port: int = 0) -> ClickHouseAddress:
        base = self._base or parse(f"clickhouse://127.0.0.1:{self.port}")
        known, number = base.hosts[0]
        return ClickHouseAddress(
            hosts=((host or known, port or number),), database=database, user=base.user, password=base.password
        )

    def client(self, database: str = "") -> Any:
        """For the test itself."""
        address = self.address(database)
        host, port = address.hosts[0]
        return Client(host, port, database=database, user=address.user, password=address.password)

    @contextmanager
    def database(self) -> Iterator[str]:
        """The name of a database that is not there yet, and is dropped afterwards."""
        name = f"test_{secrets.token_hex(6)}"
        try:
            yield name
        finally:
            if self._process is not None or self._base is not None:
                client = self.client()
                client.execute(f"DROP DATABASE IF EXISTS {name}")
                client.disconnect()


@contextmanager
def clickhouse(folder: Path) -> Iterator[ClickHouse]:
    """A server for as long as the block lasts."""
    server = ClickHouse(folder)
    try:
        yield server.start()
    finally:
        server.stop()


def wait_until(condition: Any, what: str, within_s: float = _STARTED_WITHIN_S) -> None:
    """Until something is so; a test that waits for ever says nothing."""
    until = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < until, f"not within {within_s} s: {what}"
        time.sleep(0.01)
