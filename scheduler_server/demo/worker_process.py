"""One worker of the demo, a process of its own: `python -m scheduler_server.demo.worker_process --id ...`.

It is told on stdin, a line of JSON each: first where to connect, later to measure itself. It tells on stdout, a line of
JSON each: that it is ready, what it measured, when a task begins and ends. When stdin ends its parent is gone, and it
ends at once.

The process is two workers of the same slots and handlers: one of the scheduler, and where there is round robin one of
that, which lets tasks queue here, first come, first served. They are never busy at the same time.
"""

import argparse
import asyncio
import json
import os
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

from scheduler_server.demo.pace import Pace
from scheduler_server.demo.work import BY_TYPE, KINDS, WAIT_S, Kind, digest, unpack
from scheduler_server.worker import TaskContext, Worker

QUEUE = 10_000  # tasks that may wait here under round robin: the contract's limit


class Told:
    """Lines to the parent. A parent that does not listen any more is gone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __call__(self, **said: Any) -> None:
        """Say one line; from any thread."""
        with self._lock:
            try:
                sys.stdout.write(json.dumps(said) + "\n")
                sys.stdout.flush()
            except OSError:
                os._exit(1)


def handle(worker: Worker, kind: Kind, share: float, speed: float, tell: Told) -> None:
    """Give the worker the handler of one kind, which does the work and says when."""

    def work(task: TaskContext) -> bytes:
        tell(began=task.task_id, attempt=task.attempt, at=time.monotonic())
        result = do_units(kind, task.payload, share * speed, task.cancelled)
        tell(ended=task.task_id, attempt=task.attempt, at=time.monotonic())
        return result

    async def wait(task: TaskContext) -> bytes:
        tell(began=task.task_id, attempt=task.attempt, at=time.monotonic())
        units, chunk = unpack(task.payload)
        await asyncio.sleep(units * WAIT_S / speed)
        tell(ended=task.task_id, attempt=task.attempt, at=time.monotonic())
        return digest(kind, chunk)

    worker.task(kind.task_type)(wait if kind.unit is None else work)


def do_units(kind: Kind, payload: bytes, share: float, cancelled: threading.Event) -> bytes:
    """Work at this share of a core; the digest of the last unit."""
    units, chunk = unpack(payload)
    pace = Pace(share)
    for _ in range(units - 1):
        if kind.unit is not None:
            kind.unit(chunk)
        pace.rest(cancelled)
        if cancelled.is_set():
            return b""
    result = digest(kind, chunk)
    pace.rest(cancelled, least_s=0.0)
    return result


def measure(payloads: Mapping[str, bytes], nominal_s: float, share: float) -> float:
    """Seconds of work at speed 1 that one slot does per second, by doing these tasks of `nominal_s` together."""
    never = threading.Event()
    for task_type, payload in payloads.items():
        digest(BY_TYPE[task_type], unpack(payload)[1])  # the first time pays for caches
    began = time.monotonic()
    for task_type, payload in payloads.items():
        do_units(BY_TYPE[task_type], payload, share, never)
    return nominal_s / (time.monotonic() - began)


def main() -> None:
    """Run until SIGTERM; the exit code is 0 then."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--id", required=True)
    parser.add_argument("--slots", type=int, required=True)
    parser.add_argument("--speed", type=float, required=True)
    parser.add_argument("--capabilities", default="")
    given = parser.parse_args()
    tell = Told()
    line = sys.stdin.readline()
    if not line:
        sys.exit(1)
    said = json.loads(line)
    share = float(said["share"])
    about = {
        "worker_id": given.id,
        "slots": given.slots,
        "capabilities": [name for name in given.capabilities.split(",") if name],
        "labels": {"speed": f"{given.speed:g}"},
        "node": given.id,
        "worker_type": "demo",
    }
    scheduled = Worker(said["scheduler"], **about)
    workers = [scheduled]
    if said["round_robin"]:
        workers.append(Worker(said["round_robin"], prefetch=QUEUE, **about))
    for worker in workers:
        for kind in KINDS:
            handle(worker, kind, share, given.speed, tell)
    threading.Thread(target=_listen, args=(share * given.speed, tell), daemon=True).start()
    for in_turn in workers[1:]:
        in_turn.start()
    tell(ready=True)
    scheduled.run()
    for in_turn in workers[1:]:
        in_turn.stop(drain_timeout=1.0)


def _listen(share: float, tell: Told) -> None:
    for line in sys.stdin:
        asked = json.loads(line)["measure"]
        payloads = {name: bytes.fromhex(payload) for name, payload in asked["payloads"].items()}
        tell(measured=measure(payloads, asked["nominal_s"], share))
    os._exit(1)


if __name__ == "__main__":
    main()
