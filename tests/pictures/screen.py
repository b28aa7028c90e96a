"""A command in a terminal of so many columns and lines, and what it left on the screen."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import pyte

_TAKE_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
DEADLINE_S = 60.0
_FAINT, _GREY = b"\x1b[2m", b"\x1b[90m"  # pyte knows no faint letters
_LONGEST_CODE = 8


class Terminal:
    """Use it by `with`; the command ends with it. `raw` is every byte that it wrote."""

    def __init__(
        self, command: Sequence[str], *, columns: int, lines: int, environment: Mapping[str, str] | None = None
    ) -> None:
        self.screen = pyte.Screen(columns, lines)
        self.raw = b""
        self._held = b""
        self._stream = pyte.ByteStream(self.screen)
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        surroundings = {**os.environ, "SCHEDCTL_CONFIG": "/nowhere", "TERM": "xterm-256color", **(environment or {})}
        for name in ("COLUMNS", "LINES", "NO_COLOR"):
            surroundings.pop(name, None)
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-c", _TAKE_TERMINAL, *command],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=surroundings,
            start_new_session=True,
        )
        os.close(theirs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._ours, keys.encode())

    def until(self, shown: Callable[[str], Any], what: str) -> None:
        """Wait until the screen is as wanted."""
        end = time.monotonic() + DEADLINE_S
        while not shown(self.text()):
            if time.monotonic() > end:
                raise AssertionError(f"not shown: {what}\n{self.text()}")
            self._read(0.1)

    def ended(self) -> int:
        """Wait for its end; answers the exit code."""
        end = time.monotonic() + DEADLINE_S
        while self.process.poll() is None:
            if time.monotonic() > end:
                raise AssertionError(f"it goes on\n{self.text()}")
            self._read(0.05)
        self._read(0.2)
        self._stream.feed(self._held)
        return self.process.returncode

    def text(self) -> str:
        """The screen without its colours."""
        return "\n".join(line.rstrip() for line in self.screen.display)

    def _read(self, timeout_s: float) -> None:
        while select.select([self._ours], [], [], timeout_s)[0]:
            try:
                read = os.read(self._ours, 65_536)
            except OSError:  # the command has ended and closed it
                return
            self.raw += read
            # A code may come in two reads; what has begun waits for its end.
            begun, escape, rest = (self._held + read).rpartition(b"\x1b")
            whole = not escape or len(rest) >= _LONGEST_CODE
            self._held = b"" if whole else escape + rest
            self._stream.feed((begun + escape + rest if whole else begun).replace(_FAINT, _GREY))
            timeout_s = 0.0
