"""The writing side in a process of its own, seen from the writer's thread.

The process is started when it is first needed, and again after it has ended: its death is a failure like any other,
after which the writer gives the same parcel again. Where it cannot be started at all, the writing is done in this
process, which costs the event loop some of its time: that is told as a warning.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from scheduler_server.storage.decision_log.frames import receive, send
from scheduler_server.storage.decision_log.packing import Parcel
from scheduler_server.storage.decision_log.port import DecisionLog, LogError, LogFault
from scheduler_server.storage.decision_log.rows import Table
from scheduler_server.storage.decision_log.scribe import Scribe, Written

MODULE = "scheduler_server.storage.decision_log.scribe_main"
STARTS = 3
"""Failures to start in a row after which no more are tried: a limit, a missing interpreter, a package that is gone."""

_GONE_S = 1.0  # from the end of its answers to the end of the process
_GROUP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@runtime_checkable
class Portable(Protocol):
    """A log that another process can make from a few bytes: `type(log).of_recipe(log.recipe())`."""

    def recipe(self) -> bytes:
        """What it was made from; may contain a password."""


class _EndedError(LogError):
    """The process ended: its code, below 0 the signal."""

    def __init__(self, location: str, code: int) -> None:
        how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        super().__init__(LogFault.IO, f"decision log {location}: its process ended ({how})")
        self.code = code


class _Child:
    """The process, and the line to it."""

    def __init__(self, python: str, held: tuple[int, ...]) -> None:
        """Start it with these file descriptors open. Raises OSError."""
        self._line, theirs = socket.socketpair()
        self._answers = self._line.makefile("rb")
        # Blocked signals are inherited: one to the whole group cannot end the child before it ignores them.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _GROUP_SIGNALS)
        try:
            with theirs:
                # A fork of a process with gRPC's threads is no good; this is a vfork and an exec, which that allows.
                # -P and PYTHONPATH: modules come from where the server's come from, wherever it stands.
                paths = os.pathsep.join(each or str(Path.cwd()) for each in sys.path)
                environment = {**os.environ, "PYTHONPATH": paths}
                command = [python, "-P", "-m", MODULE]
                line = theirs.fileno()
                self._process = subprocess.Popen(  # noqa: S603 -- ours
                    command, stdin=line, stdout=line, env=environment, pass_fds=held
                )
        except BaseException:
            self._hang_up()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self.pid = self._process.pid

    def ask(self, question: tuple[Any, ...], bodies: Sequence[bytes] = ()) -> Any:
        """Its answer; None where it has ended."""
        try:
            send(self._line.fileno(), question, bodies)
            return receive(self._answers)
        except OSError:  # it hung up while it was being asked
            return None

    def end(self, within_s: float) -> int:
        """Tell it to end, and wait so long before it is killed: it is nobody's zombie. Its code."""
        with contextlib.suppress(OSError):
            self._line.shutdown(socket.SHUT_WR)
        try:
            self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._hang_up()
        return self._process.wait()

    def _hang_up(self) -> None:
        self._answers.close()
        self._line.close()


class ScribeProcess:
    """A `Writing` whose work is done in a child. Invariant: `_child` is None, or waits for a question."""

    def __init__(
        self, log: DecisionLog, recipe: bytes, *, held: tuple[int, ...] = (), python: str = sys.executable
    ) -> None:
        """Nothing is started yet. `held` stays open in the process while it lives; `python` is the interpreter."""
        self._log = log
        self._hello = (log.backend, recipe)
        self._python = python
        self._held = held
        self._child: _Child | None = None
        self._failed_starts = 0
        self._here: Scribe | None = None  # writes instead, where no process can be started
        self.starts = 0
        """Processes that were started and answered."""

    @property
    def pid(self) -> int:
        """See Writing."""
        child = self._child
        return 0 if child is None else child.pid

    def prepare(self) -> list[str]:
        """See Writing."""
        told, child = self._ready()
        if isinstance(child, Scribe):
            return [*told, *child.prepare()]
        told += self._ask(child, ("prepare",))[0]
        return told

    def write(self, parcel: Parcel) -> Written:
        """See Writing."""
        told, child = self._ready()
        if isinstance(child, Scribe):
            written = child.write(parcel)
            return written._replace(told=[*told, *written.told])
        *about, slices = parcel
        more, refused, why = self._ask(child, ("write", *about, len(slices)), slices)
        return Written([*told, *more], {Table(table): count for table, count in refused}, why)

    def tidy(self, now: float) -> bool:
        """See Writing."""
        if self._here is not None:
            return self._here.tidy(now)
        return self._child is not None and bool(self._ask(self._child, ("tidy", now)))

    def close(self, within_s: float) -> None:
        """See Writing. The process has so long to close the log, then it is killed."""
        child, self._child = self._child, None
        if child is not None:
            child.end(within_s)
        if self._here is not None:
            self._here.close(within_s)

    # ------------------------------------------------------------------ the process

    def _ready(self) -> tuple[list[str], "_Child | Scribe"]:
        """Who writes, started where there was nobody, and what should be told of that."""
        present = self._here or self._child
        if present is not None:
            return [], present
        try:
            child = _Child(self._python, self._held)
            self._ask(child, self._hello)
        except OSError as error:
            return self._not_started(f"cannot start its process: {error}")
        except _EndedError as error:
            if error.code < 0:  # somebody killed it: the next one may live
                raise
            return self._not_started(f"its process did not start (exit code {error.code})")
        self._child = child
        self._failed_starts = 0
        self.starts += 1
        return [], child

    def _not_started(self, why: str) -> tuple[list[str], Scribe]:
        self._failed_starts += 1
        why = f"decision log {self._log.location}: {why}"
        if self._failed_starts < STARTS:
            raise LogError(LogFault.IO, why) from None
        self._here = Scribe(self._log, alone=False)
        return [f"{why}; written by the server itself, which slows it down"], self._here

    def _ask(self, child: _Child, question: tuple[Any, ...], bodies: Sequence[bytes] = ()) -> Any:
        answer = child.ask(question, bodies)
        if answer is None:
            self._child = None
            raise _EndedError(self._log.location, child.end(_GONE_S))
        failed, *given = answer
        if failed:
            fault, message = given
            raise LogError(LogFault(fault), message)
        return given[0]
