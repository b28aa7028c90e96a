"""Takes the screen, and gives it back as it was: at the end, on an error, on a signal, while Ctrl-Z stops it."""

import os
import select
import signal
import termios
import tty
from types import FrameType, TracebackType
from typing import Any, Self, TextIO

from scheduler_server.schedctl.paper import coloured
from scheduler_server.schedctl.table import Line

_ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l"  # the other screen, no cursor, no wrapping
_LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l"
_HOME, _TO_END_OF_LINE, _TO_END = "\x1b[H", "\x1b[K", "\x1b[J"
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Terminal:
    """The screen while it is ours, by `with`.

    Invariant: whenever this process does not run our code (stopped, ended), the terminal is as it was found. `ended_by`
    is the signal that asks for the end, 0 until one does.
    """

    def __init__(self, stdin: TextIO, stdout: TextIO, *, colour: bool) -> None:
        self._in, self._out = stdin.fileno(), stdout
        self._colour = colour
        self._found: list[Any] = []
        self._before: dict[signal.Signals, Any] = {}
        self._wake_read, self._wake_write = os.pipe()
        for end in (self._wake_read, self._wake_write):
            os.set_blocking(end, False)
        self.ended_by = 0

    def __enter__(self) -> Self:
        self._found = termios.tcgetattr(self._in)
        for number in _ENDING:
            self._before[number] = signal.signal(number, self._end)
        self._before[signal.SIGTSTP] = signal.signal(signal.SIGTSTP, self._stop)
        self._before[signal.SIGWINCH] = signal.signal(signal.SIGWINCH, self._changed)
        self._take()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._give_back()
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._wake_read)
        os.close(self._wake_write)

    def draw(self, lines: list[Line]) -> None:
        """Show these lines, from the top. One write, so that nothing is seen half drawn."""
        drawn = f"{_TO_END_OF_LINE}\r\n".join(coloured(line, colour=self._colour) for line in lines)
        self._write(f"{_HOME}{drawn}{_TO_END_OF_LINE}{_TO_END}")

    def size(self) -> tuple[int, int]:
        """Columns and lines."""
        try:
            found = os.get_terminal_size(self._out.fileno())
        except OSError:
            return 80, 24
        return found.columns or 80, found.lines or 24

    def wake(self) -> None:
        """End a `typed` that waits; from any thread and from signal handlers."""
        try:
            os.write(self._wake_write, b".")
        except (BlockingIOError, OSError):  # enough of them wait there, or it is over
            return

    def typed(self, timeout_s: float) -> bytes | None:
        """What was typed, b"" when there is something else to do, None when nobody can type any more."""
        ready, _, _ = select.select([self._in, self._wake_read], [], [], timeout_s)
        if self._wake_read in ready:
            os.read(self._wake_read, 4_096)
        if self._in not in ready:
            return b""
        try:
            return os.read(self._in, 1_024) or None
        except OSError:  # the terminal is gone
            return None

    def _end(self, number: int, frame: FrameType | None) -> None:
        self.ended_by = number
        self.wake()

    def _changed(self, number: int, frame: FrameType | None) -> None:
        self.wake()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._give_back()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._take()  # here again after SIGCONT
        self.wake()

    def _take(self) -> None:
        self._write(_ENTER)
        tty.setcbreak(self._in, termios.TCSANOW)

    def _give_back(self) -> None:
        try:
            self._write(_LEAVE)
            termios.tcsetattr(self._in, termios.TCSANOW, self._found)
        except (OSError, termios.error):  # it was closed: nobody to give it back to
            return

    def _write(self, drawn: str) -> None:
        self._out.write(drawn)
        self._out.flush()
