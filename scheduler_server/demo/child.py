"""A process of the demo's: started on a leash, watched, ended, and asked why if it ends by itself."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from scheduler_server.demo.leash import leashed

LINE_BYTES = 1 << 20  # longest line that a child may say


class DemoFailed(Exception):
    """The demo cannot go on, or did not keep what it promises; the message is one clear line."""


def environment() -> Mapping[str, str]:
    """This environment without settings of the server: the demo shows its defaults."""
    return {name: value for name, value in os.environ.items() if not name.startswith("SCHEDULER_")}


class Child:
    """One process. Its stderr goes to a file, of which `why` tells the last line."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.process = process
        self._log = log
        self._ending = False

    @classmethod
    async def start(cls, name: str, command: Sequence[str], folder: Path) -> Self:
        """Start it. In a session of its own, so that the terminal's Ctrl-C reaches only the demo, which ends it."""
        log = folder / f"{name}.log"
        try:
            with log.open("wb") as errors:
                process = await asyncio.create_subprocess_exec(
                    *leashed(command),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=errors,
                    env=environment(),
                    limit=LINE_BYTES,
                    start_new_session=True,
                )
        except OSError as error:
            raise DemoFailed(f"{name} could not be started: {error}") from error
        return cls(name, process, log)

    async def line(self) -> bytes:
        """Its next line; empty when there are no more."""
        assert self.process.stdout is not None  # noqa: S101 - asked for at its start
        return await self.process.stdout.readline()

    def tell(self, line: str) -> None:
        """Say a line to it. One that is gone is noticed by `watch`."""
        assert self.process.stdin is not None  # noqa: S101 - asked for at its start
        with contextlib.suppress(ConnectionError, RuntimeError):
            self.process.stdin.write(line.encode() + b"\n")

    async def watch(self) -> None:
        """Raise when it ends before it is asked to.

        Raises:
            DemoFailed: it did.
        """
        code = await self.process.wait()
        if not self._ending:
            raise DemoFailed(f"{self.name} {_ended(code)}: {self.why()}")

    async def stop(self, grace_s: float) -> int:
        """SIGTERM, SIGKILL when it takes longer than `grace_s`; its exit code, negative for a signal's number."""
        self._ending = True
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(self.process.wait(), grace_s)
            except TimeoutError:
                await self.kill()
        return await self.process.wait()

    async def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self._ending = True
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()

    def why(self) -> str:
        """The last line it wrote to stderr."""
        try:
            lines = self._log.read_text(errors="replace").splitlines()
        except OSError:
            lines = []
        return next((line.strip() for line in reversed(lines) if line.strip()), "it left no word")


def _ended(code: int) -> str:
    return f"exited with code {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"
