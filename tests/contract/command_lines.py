"""The server as a process, for clients that are processes too."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import IO, Any, NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
SCHEDULE = "scheduler_api.v1.ScheduleService"
DEADLINE_S = 20.0


@contextmanager
def served() -> Iterator[str]:
    """The address of a server that runs in a process of its own."""
    command = [sys.executable, "-m", "scheduler_server", "serve", "--server-listen", "127.0.0.1:0",
               "--storage-state-folder", "", "--log-level", "warning"]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert process.stdout is not None
        said = next_line(lines_of(process.stdout))
        assert "serving on " in said, said
        yield said.rpartition(" ")[2].strip()
    finally:
        process.terminate()
        try:
            _, complaints = process.communicate(timeout=DEADLINE_S)
        finally:
            process.kill()
    assert process.returncode == 0
    assert "Traceback" not in complaints


def client(name: str, *places: Path) -> str:
    """A real client; where it is missing the test is skipped, and on CI's machine it fails."""
    found = next((str(each) for each in places if each.exists()), None) or shutil.which(name)
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{name} is missing; CI has to bring it")
        pytest.skip(f"{name} is not installed here, so what it shows was not looked at")
    return found


class Ran(NamedTuple):
    """What a command printed."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Its output, which has to be one JSON document, after a success."""
        assert self.code == 0, self.err
        return snake(json.loads(self.out))


def snake(value: Any) -> Any:
    """JSON with field names as the contract has them: clients, and their versions, differ in how they write them."""
    if isinstance(value, dict):
        return {re.sub("[A-Z]", lambda upper: f"_{upper[0].lower()}", key): snake(each) for key, each in value.items()}
    return [snake(each) for each in value] if isinstance(value, list) else value


def run(*command: str, given: str | None = None) -> Ran:
    """Run a command to its end."""
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    return Ran(done.returncode, done.stdout, done.stderr)


def lines_of(stream: IO[str]) -> "SimpleQueue[str]":
    """Lines as they come; an empty one at the end."""
    lines: SimpleQueue[str] = SimpleQueue()

    def read() -> None:
        for line in stream:
            lines.put(line)
        lines.put("")

    Thread(target=read, daemon=True).start()
    return lines


def next_line(lines: "SimpleQueue[str]") -> str:
    """The next line, within the deadline."""
    try:
        return lines.get(timeout=DEADLINE_S)
    except Empty:
        raise AssertionError("nothing was said in time") from None


class Talk:
    """A client that holds a stream open: JSON messages in and out, each in as many lines as the client likes."""

    def __init__(self, *command: str) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self._lines = lines_of(self._process.stdout)

    def say(self, message: dict[str, Any]) -> None:
        """Send one message."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()

    def hear(self) -> Any:
        """The next message."""
        text = ""
        while True:
            line = next_line(self._lines)
            assert line, f"the client ended: {self._process.stderr.read() if self._process.stderr else ''}"
            text += line
            try:
                return snake(json.loads(text))
            except ValueError:
                continue

    def end(self) -> Ran:
        """Say no more, and wait for the client's end."""
        out, err = self._process.communicate(timeout=DEADLINE_S)
        return Ran(self._process.returncode, out or "", err)

    def kill(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.communicate()
