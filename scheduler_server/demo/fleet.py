"""Who works: six worker processes of different speed, slots and capabilities."""

import asyncio
import contextlib
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scheduler_server.demo.child import Child, DemoFailed
from scheduler_server.demo.tape import Tape

READY_S = 60.0  # six interpreters importing at once on a slow, busy machine; usually two seconds
MEASURE_S = 30.0  # usually half a second


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """One worker as it is started."""

    worker_id: str
    speed: float
    slots: int
    capabilities: tuple[str, ...]


# What a fleet looks like after some years: the newer machines are faster and have more room.
FLEET: Final = (
    Spec(worker_id="large-1", speed=2.0, slots=3, capabilities=("image", "archive", "fast-disk")),
    Spec(worker_id="large-2", speed=1.6, slots=3, capabilities=("image", "fast-disk")),
    Spec(worker_id="medium-1", speed=1.0, slots=3, capabilities=("image", "archive")),
    Spec(worker_id="medium-2", speed=1.0, slots=3, capabilities=("archive", "fast-disk")),
    Spec(worker_id="small-1", speed=0.7, slots=2, capabilities=("image",)),
    Spec(worker_id="small-2", speed=0.5, slots=2, capabilities=()),
)
SLOTS: Final = sum(spec.slots for spec in FLEET)


class Fleet:
    """The worker processes. What they say of tasks goes to `tape`; ends of tasks of no tape are dropped."""

    def __init__(self) -> None:
        self.children: dict[str, Child] = {}
        self.tape: Tape | None = None
        self.killed: set[str] = set()
        self._ready: dict[str, asyncio.Event] = {}
        self._measured: dict[str, asyncio.Future[float]] = {}

    async def start(self, folder: Path, group: asyncio.TaskGroup) -> None:
        """Start all; they wait to be told where to connect. Listening and watching is left to the group."""
        for spec in FLEET:
            command = [sys.executable, "-m", "scheduler_server.demo.worker_process"]
            command += ["--id", spec.worker_id, "--slots", str(spec.slots), "--speed", str(spec.speed)]
            command += ["--capabilities", ",".join(spec.capabilities)]
            child = await Child.start(spec.worker_id, command, folder)
            self.children[spec.worker_id] = child
            self._ready[spec.worker_id] = asyncio.Event()
            group.create_task(self._listen(spec.worker_id, child))
            group.create_task(child.watch())

    async def connect(self, scheduler: str, round_robin: str, share: float) -> None:
        """Tell all where to connect, and wait until they have begun to. "": there is no round robin."""
        line = json.dumps({"scheduler": scheduler, "round_robin": round_robin, "share": share})
        for child in self.children.values():
            child.tell(line)
        with _in_time(READY_S, "the workers did not come up"):
            async with asyncio.timeout(READY_S):
                for ready in self._ready.values():
                    await ready.wait()

    async def measure(self, payloads: Mapping[str, bytes], nominal_s: float) -> dict[str, float]:
        """Let all do these tasks at once; by worker, the seconds of work at speed 1 that a slot does per second."""
        loop = asyncio.get_running_loop()
        self._measured = {worker_id: loop.create_future() for worker_id in self.children}
        asked = {"payloads": {name: payload.hex() for name, payload in payloads.items()}, "nominal_s": nominal_s}
        for child in self.children.values():
            child.tell(json.dumps({"measure": asked}))
        with _in_time(MEASURE_S, "the workers did not measure themselves"):
            async with asyncio.timeout(MEASURE_S):
                return {worker_id: await speed for worker_id, speed in self._measured.items()}

    async def stop(self, grace_s: float) -> None:
        """Let all drain and leave.

        Raises:
            DemoFailed: one of them did not end well, other than by `kill_one`.
        """
        left = [child for child in self.children.values() if child.name not in self.killed]
        codes = await asyncio.gather(*(child.stop(grace_s) for child in left))
        for child, code in zip(left, codes, strict=True):
            if code:
                raise DemoFailed(f"{child.name} ended with code {code}: {child.why()}")

    async def kill_one(self, worker_id: str) -> None:
        """SIGKILL to one of them, as a machine that fails would do it: it says nothing to anybody any more."""
        self.killed.add(worker_id)
        await self.children[worker_id].kill()

    async def kill(self) -> None:
        """End all now."""
        await asyncio.gather(*(child.kill() for child in self.children.values()))

    async def _listen(self, worker_id: str, child: Child) -> None:
        while line := await child.line():
            said = json.loads(line)
            if "ready" in said:
                self._ready[worker_id].set()
            elif "measured" in said:
                self._measured[worker_id].set_result(said["measured"])
            elif self.tape is not None and "began" in said:
                self.tape.began(worker_id, said["began"], said["at"], said["attempt"])
            elif self.tape is not None and "ended" in said:
                self.tape.ended(said["ended"], said["at"], said["attempt"])


@contextlib.contextmanager
def _in_time(limit_s: float, what: str) -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        raise DemoFailed(f"{what} within {limit_s:.0f} s") from None
