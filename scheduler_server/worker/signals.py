"""Signals for `run`: caught while it blocks, put back afterwards.

The kernel may deliver a signal to any thread, or just before the main thread falls asleep on a lock; Python's
handler then waits until that lock is free. A wakeup file descriptor is written by the C handler itself, so
none is missed.
"""

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ASKED_TO_STOP = (signal.SIGTERM, signal.SIGINT)
RING = 0  # no signal has this number


class Bell:
    """Wakes one waiting thread: by a signal, or by `ring` from another thread."""

    def __init__(self, sender: socket.socket, receiver: socket.socket) -> None:
        self._sender = sender
        self._receiver = receiver

    def ring(self) -> None:
        """Let `wait` return 0."""
        self._sender.send(bytes([RING]))

    def wait(self) -> int:
        """Block until there is something; the signal's number, or 0 when it was rung."""
        while (number := self._receiver.recv(1)[0]) not in {RING, *ASKED_TO_STOP}:
            pass  # the program's own handlers for other signals write here too
        return number


@contextmanager
def caught() -> Iterator[Bell]:
    """Signals that ask to stop ring the bell. Outside of the main thread Python allows none: only `ring`."""
    sender, receiver = socket.socketpair()
    with sender, receiver:
        sender.setblocking(False)
        bell = Bell(sender, receiver)
        if threading.current_thread() is not threading.main_thread():
            yield bell
            return
        before = {number: signal.signal(number, _noted) for number in ASKED_TO_STOP}
        descriptor = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
        try:
            yield bell
        finally:
            signal.set_wakeup_fd(descriptor)
            for number, former in before.items():
                # None: set by other than Python code, and cannot be put back
                signal.signal(number, signal.SIG_DFL if former is None else former)


def _noted(_number: int, _frame: FrameType | None) -> None:
    """The number is in the bell already; without a handler of ours Python would not put it there."""
