"""The demo as a process, and those that it starts."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

DEADLINE_S = 90.0  # a short demo takes 10 s; this only ever ends a hang
CHILDREN = 8  # the server, the process that writes its decision log, and six workers


@contextmanager
def demo(tmp_path: Path, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    # No HOME, a dumb terminal, and somebody's settings of the server in the environment: none of it may matter.
    env = {"PATH": os.environ["PATH"], "TERM": "dumb", "TMPDIR": str(tmp_path), "SCHEDULER_LOG_LEVEL": "nonsense"}
    process = subprocess.Popen(
        [sys.executable, "-m", "scheduler_server", "demo", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env | environment,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def until(true: Callable[[], bool], what: str, within_s: float = DEADLINE_S) -> None:
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def family(process: subprocess.Popen[str], count: int = CHILDREN) -> list[psutil.Process]:
    """Its children, once all are there and the first tasks have come."""
    assert process.stdout is not None
    if not any(" load; seed " in line for line in process.stdout):
        pytest.fail(f"the demo ended: {process.communicate()[1]}")
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) == count
    return children


def gone(children: list[psutil.Process]) -> bool:
    """True when none is left; one that is dead and not yet reaped by its new parent has no life left."""
    return not any(map(runs, children))


def runs(child: psutil.Process) -> bool:
    """Is it there, and no zombie? It may go between the two questions."""
    try:
        return child.is_running() and child.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
