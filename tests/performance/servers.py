"""Starting the servers and clients of a benchmark; all of them end with the `with` block."""

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from tests.performance.pairs import BASELINE
from tests.performance.processes import Child, ChildError

RAMP_S = 0.2
"""Load before a window counts: work that is put off (the journal's 50 ms) then falls into the window that caused it."""

SETTLE_S = 0.15
"""Quiet after a window, so that none of it falls into the next one."""


class Servers:
    """The no-op baseline and one real server per scorer, all alive, one loaded at a time."""

    def __init__(self, scorers: tuple[str, ...], workers: int) -> None:
        self._stack = ExitStack()
        self.workers = workers
        self.children: dict[str, Child] = {}
        try:
            folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
            self._start(BASELINE, "noop_server", scorer=scorers[0], workers=max(workers, 1))
            for scorer in scorers:
                self._start(scorer, "ours_server", scorer=scorer, workers=workers, state_folder=str(folder / scorer))
            self.addresses = {name: str(child.wait_ready()["address"]) for name, child in self.children.items()}
        except BaseException:
            self._stack.close()
            raise

    def _start(self, name: str, module: str, **arguments: Any) -> None:
        self.children[name] = self._stack.enter_context(Child(f"tests.performance.{module}", **arguments))

    def client(self, module: str, **arguments: Any) -> Child:
        """A client process that knows all servers."""
        child = self._stack.enter_context(Child(f"tests.performance.{module}", targets=self.addresses, **arguments))
        child.wait_ready()
        return child

    def __enter__(self) -> "Servers":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()


class Loaded(NamedTuple):
    """One window of the closed-loop client: tasks per second, and what one cost the server's process in CPU time.

    CPU time is no part of any target. It tells where a difference comes from; other work on the machine moves it less.
    """

    per_s: float
    server_cpu_us: float


def closed_loop(
    servers: Servers,
    client: Child,
    name: str,
    seconds: float,
    *,
    in_flight: int = 16,
    held: int,
    at_once: int = 16,
    batch: int = 0,
) -> Loaded:
    """Load one server for one window."""
    server = servers.children[name]
    before_s = server.cpu_s()
    answer = client.ask(
        "run",
        seconds + 60.0,
        target=name,
        seconds=seconds,
        ramp_s=RAMP_S,
        in_flight=in_flight,
        held=held,
        at_once=at_once,
        batch=batch,
    )
    time.sleep(SETTLE_S)
    if not answer["per_s"]:
        raise ChildError(f"{name} answered nothing for {seconds:g} s")
    return Loaded(answer["per_s"], (server.cpu_s() - before_s) / answer["placed"] * 1e6)
