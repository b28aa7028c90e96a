"""The demo as a user runs it: a process with a pipe for a terminal, and what it leaves behind."""

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import psutil
import pytest

from tests.integration.demo_process import DEADLINE_S, demo, family, gone, until

pytestmark = pytest.mark.slow


def test_a_short_demo_shows_every_figure_leaves_nothing_and_succeeds(tmp_path: Path) -> None:
    with demo(tmp_path, "--seconds", "6", "--tasks", "60") as process:
        said, complained = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 0, complained
        assert complained == ""
    assert re.search(r"^Decisions by source: 60 in all$", said, re.MULTILINE)
    assert re.search(r"^  predicted +\d+", said, re.MULTILINE)
    assert re.search(r"^  fallback +\d+", said, re.MULTILINE)
    assert re.search(r"^  all +within 25 %: +\d+%, within 2x: +\d+%, of 60$", said, re.MULTILINE)
    waited = re.search(r"^Tasks that waited: (\d+) of 60; ", said, re.MULTILINE)
    assert waited is not None
    row = r"^  {} +(\d+) +\d+% +\d+% +[\d.]+ s +[\d.]+ s +[\d.]+ s$"
    counts = [
        re.search(row.format(label), said, re.MULTILINE) for label in ("the first half to come", "the second half")
    ]
    assert sum(int(found[1]) for found in counts if found) == int(waited[1]) > 0
    assert re.search(row.format("all"), said, re.MULTILINE)
    assert re.search(r"^  as the server counts it +\d+% +\d+%$", said, re.MULTILINE)
    for figure in ("mean wait", "p99 wait", "last task done after"):
        assert re.search(rf"^  {figure} +\d+\.\d+ s +\d+\.\d+ s +[\d.]+$", said, re.MULTILINE), figure
    assert re.search(r"^  busy-slot spread \(CoV\) +\d\.\d+ +\d\.\d+ +\d+\.\d+$", said, re.MULTILINE)
    assert re.search(
        r"^  round_robin +\d+ +\d+% +\d+ +[+-]\d\.\d+ s +[+-]\d\.\d+ s and [+-]\d\.\d+ s$", said, re.MULTILINE
    )
    assert re.search(r"^One decision explained: scheduler-\d{4} \(.*, needs .*\)$", said, re.MULTILINE)
    assert re.search(r"^  candidates, best first +score", said, re.MULTILINE)
    assert re.search(r"^  not candidates: \d", said, re.MULTILINE)
    assert re.search(r"^scheduler +\d\.\d s .*sent +\d+ waiting +\d+ running +\d+ done +\d+$", said, re.MULTILINE)
    assert re.search(r"^round robin +\d\.\d s .*done +\d+$", said, re.MULTILINE)
    assert "120 tasks ran once each, every result was right" in said
    assert "every process has ended" in said
    assert "\x1b" not in said
    assert max(map(len, said.splitlines())) <= 80
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_asked_to_stop_it_ends_within_three_seconds_and_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    with demo(tmp_path) as process:
        children = family(process)
        process.send_signal(number)
        asked = time.monotonic()
        _, complained = process.communicate(timeout=DEADLINE_S)
        assert time.monotonic() - asked < 3.0
        assert process.returncode == 128 + number
        assert complained == "scheduler-server demo: stopped\n"
        assert gone(children)
    assert list(tmp_path.iterdir()) == []


def test_killed_it_leaves_no_process_behind(tmp_path: Path) -> None:
    with demo(tmp_path) as process:
        children = family(process)
        process.kill()
        until(lambda: gone(children), f"still there: {children}", within_s=5.0)


def test_killed_while_it_starts_it_leaves_no_process_behind(tmp_path: Path) -> None:
    with demo(tmp_path) as process:
        parent = psutil.Process(process.pid)
        until(lambda: len(parent.children()) >= 3, "no children")
        children = parent.children(recursive=True)
        process.kill()
        until(lambda: gone(children), f"still there: {children}", within_s=5.0)


@pytest.mark.parametrize("victim", ["small-2", "serve"])
def test_a_process_that_dies_is_named_in_one_line_and_the_rest_is_ended(tmp_path: Path, victim: str) -> None:
    with demo(tmp_path) as process:
        children = family(process)
        next(child for child in children if victim in child.cmdline()).kill()
        _, complained = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 1
        name = "server" if victim == "serve" else victim
        assert re.fullmatch(rf"scheduler-server demo: {name} was ended by SIGKILL: .*\n", complained), complained
        assert gone(children)
    assert list(tmp_path.iterdir()) == []


def test_waiting_tasks_are_told_of_in_lines_while_it_runs_as_the_server_tells_of_them(tmp_path: Path) -> None:
    """A burst comes in every stretch of 2.5 s, and a line every 2 s: over 40 s some lines fall into a queue."""
    with demo(tmp_path, "--seconds", "60", "--tasks", "600") as process:
        assert process.stdout is not None
        lines = iter(process.stdout)
        found = next((line.rstrip("\n") for line in lines if line.startswith("  next #")), "")
        assert re.fullmatch(r"  next #\d+ +[a-z-]+: \d+ ahead, no free slot, start in [\d.]+ s, P90 [\d.]+ s", found), (
            f"{found} {process.poll()}"
        )
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=DEADLINE_S)


def test_on_a_terminal_it_shows_who_waits_and_ctrl_c_gives_the_terminal_back_as_it_was(tmp_path: Path) -> None:
    mine, its = os.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "scheduler_server", "demo", "--seconds", "60", "--tasks", "600"],
        stdin=its,
        stdout=its,
        stderr=its,
        env={"PATH": os.environ["PATH"], "TERM": "xterm", "TMPDIR": str(tmp_path)},
        preexec_fn=take_terminal,  # noqa: PLW1509 -- two system calls; no lock of another thread is in their way
    )
    os.close(its)
    screen = Screen(mine)
    try:
        row = rb"#\d+ +[a-z-]+ +(?:[a-z-]+ +)?0\.[259] +\d+ +[\d.]+ s +[\d.]+ s +[\d.]+ s no free slot"
        screen.until(row)
        children = psutil.Process(process.pid).children(recursive=True)
        assert b"waits because all " in screen.seen
        os.write(mine, b"\x03")
        screen.until(rb"scheduler-server demo: stopped")
        assert process.wait(DEADLINE_S) == 128 + signal.SIGINT
        assert screen.seen.rindex(b"\x1b[?25h") > screen.seen.rindex(b"\x1b[?25l")  # the cursor is shown again
        assert gone(children)
    finally:
        process.kill()
        process.wait()
        os.close(mine)


def take_terminal() -> None:
    """Make standard input the terminal of a session of its own, so that Ctrl-C goes to it."""
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class Screen:
    """All that has been written to a terminal."""

    def __init__(self, terminal: int) -> None:
        self._terminal = terminal
        self.seen = b""

    def until(self, pattern: bytes) -> None:
        """Read until this is there."""
        deadline = time.monotonic() + DEADLINE_S
        while not re.search(pattern, self.seen):
            ready, _, _ = select.select([self._terminal], [], [], deadline - time.monotonic())
            assert ready, self.seen[-2_000:]
            self.seen += os.read(self._terminal, 65_536)


def test_a_reader_that_goes_away_ends_it_without_a_traceback(tmp_path: Path) -> None:
    with demo(tmp_path, "--seconds", "6", "--tasks", "60") as process:
        children = family(process)
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        complained = process.stderr.read()
        assert process.wait(DEADLINE_S) == 1
        assert complained == ""
        assert gone(children)
