"""Child processes answer, fail aloud, and are never left behind. Real processes: nothing else would prove it."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

from tests.performance.processes import Child, ChildError

SERVER = "tests.performance.noop_server"


@pytest.fixture
def child() -> Iterator[Child]:
    with Child(SERVER, scorer="weighted", workers=1) as started:
        started.wait_ready()
        yield started


def gone(pid: int, within_s: float = 20.0) -> bool:
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


def test_a_child_says_that_it_is_ready_and_ends_when_closed(child: Child) -> None:
    assert str(child.ready["address"]).startswith("127.0.0.1:")
    assert child.rss_bytes() > 0
    child.close()
    assert gone(child.pid)


def test_a_command_that_fails_is_told_and_the_child_goes_on(child: Child) -> None:
    for _ in range(2):
        with pytest.raises(ChildError, match="KeyError"):
            child.ask("no-such-command")


def test_a_child_that_does_not_answer_in_time_is_told(child: Child) -> None:
    with pytest.raises(ChildError, match="did not answer"):
        child.answer(0.05)


def test_a_child_that_cannot_start_is_told_with_its_exit_code() -> None:
    with (
        Child("tests.performance.noop_server", nonsense=1) as broken,
        pytest.raises(ChildError, match="ended with code 1"),
    ):
        broken.wait_ready()


def test_a_child_leads_a_group_of_its_own(child: Child) -> None:
    assert os.getpgid(child.pid) == child.pid


def test_a_child_goes_when_its_parent_is_killed() -> None:
    script = (
        "import os\n"
        "from tests.performance.processes import Child\n"
        f"child = Child({SERVER!r}, scorer='weighted', workers=1)\n"
        "child.wait_ready()\n"
        "print(child.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == -9, ended.stderr
    assert gone(int(ended.stdout))
