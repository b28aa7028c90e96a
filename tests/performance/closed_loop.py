"""Client: Assign (or AssignBatch), so many calls in flight, and an outcome for every task.

A task is held for a while, as real ones last: the oldest leases are reported, in batches, once more than `held` are
out. What is held stays from window to window.
"""

import asyncio
import gc
import os
from collections import deque
from collections.abc import Mapping
from functools import partial
from itertools import count
from time import perf_counter
from typing import Any

import grpc
import uvloop

from scheduler_api.v1 import schedule_service_pb2, task_pb2
from scheduler_server.credentials import tls
from tests.performance import fleet
from tests.performance.processes import arguments, obey

_SERVICE = "/scheduler_api.v1.ScheduleService/"
_ACCEPTED = schedule_service_pb2.OUTCOME_RESULT_ACCEPTED
_SUCCEEDED = task_pb2.OUTCOME_STATUS_SUCCEEDED


class Target:
    """One server, and what this client holds there."""

    def __init__(self, address: str, workers: int, secrets: Mapping[str, str]) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        if "ca_file" in secrets:
            files = {name: path for name, path in secrets.items() if name.endswith("_file")}
            self.channel = grpc.aio.secure_channel(address, tls(**files), options)
        else:
            self.channel = grpc.aio.insecure_channel(address, options)
        self._metadata = (("authorization", f"Bearer {secrets['token']}"),) if "token" in secrets else None
        self.assign = self._call("Assign")
        self.assign_batch = self._call("AssignBatch")
        self._report = self._call("ReportOutcome")
        self._speeds = fleet.speeds(workers)
        self._held: deque[tuple[str, float]] = deque()
        self._taken = count()
        self.numbers = count()
        self.prefix = f"task-{os.getpid():06d}"  # a second client of the same server must not ask the same again
        self.reported = 0

    def _call(self, method: str) -> Any:
        request = getattr(schedule_service_pb2, f"{method}Request")
        response = getattr(schedule_service_pb2, f"{method}Response")
        call = self.channel.unary_unary(
            _SERVICE + method, request_serializer=request.SerializeToString, response_deserializer=response.FromString
        )
        return call if self._metadata is None else partial(call, metadata=self._metadata)

    def take(self, decision: Any, task_type: int) -> None:
        """Hold the lease of a decision."""
        speed = self._speeds[fleet.number_of(decision.worker_id)]
        self._held.append((decision.lease_id, fleet.duration_s(task_type, next(self._taken), speed)))

    async def report(self, beyond: int, at_once: int) -> None:
        """Report the oldest leases while there are this many more than `beyond`."""
        held = self._held
        while len(held) >= beyond + at_once:
            request = schedule_service_pb2.ReportOutcomeRequest()
            for _ in range(at_once):
                lease_id, seconds = held.popleft()
                report = request.reports.add()
                report.lease_id = lease_id
                outcome = report.outcome
                outcome.status = _SUCCEEDED
                duration = outcome.duration
                whole = int(seconds)
                duration.seconds = whole
                duration.nanos = int((seconds - whole) * 1e9)
            response = await self._report(request)
            for result in response.results:
                if result.result != _ACCEPTED:
                    raise RuntimeError(f"an outcome was not accepted: {result}")
            self.reported += at_once


class Window:
    """Tasks placed while it counts: from `start` on, for `seconds`."""

    def __init__(self, ramp_s: float, seconds: float) -> None:
        self.start = perf_counter() + ramp_s
        self.end = self.start + seconds
        self.tasks = 0
        self.placed = 0  # before, while and after it counts

    def count(self, tasks: int) -> bool:
        """Tasks were placed now; False when the window is over."""
        now = perf_counter()
        self.placed += tasks
        if self.start <= now < self.end:
            self.tasks += tasks
        return now < self.end


async def _unary(target: Target, window: Window, held: int, at_once: int) -> None:
    requests = fleet.requests()  # of its own: a message is serialized only after the call was made
    kinds = len(requests)
    while True:
        number = next(target.numbers)
        kind = number % kinds
        request = requests[kind]
        request.task.task_id = f"{target.prefix}-{number:07d}"
        response = await target.assign(request)
        going = window.count(1)
        target.take(response.decision, kind)
        await target.report(held, at_once)
        if not going:
            return


async def _batched(target: Target, window: Window, held: int, at_once: int, size: int) -> None:
    kinds = fleet.requests()
    batch = schedule_service_pb2.AssignBatchRequest()
    for at in range(size):
        batch.requests.append(kinds[at % len(kinds)])
    asked = list(batch.requests)
    while True:
        for each in asked:
            each.task.task_id = f"{target.prefix}-{next(target.numbers):07d}"
        response = await target.assign_batch(batch)
        going = window.count(size)
        for at, result in enumerate(response.results):
            if not result.HasField("response"):
                raise RuntimeError(f"a task was not placed: {result.error.message}")
            target.take(result.response.decision, at % len(kinds))
        await target.report(held, at_once)
        if not going:
            return


async def main(targets: dict[str, str], workers: int, secrets: dict[str, dict[str, str]] | None = None) -> None:
    """Load whichever server the parent names; `secrets` are what a server wants: PEM files, and a token."""
    wanted = secrets or {}
    known = {name: Target(address, workers, wanted.get(name, {})) for name, address in targets.items()}
    for target in known.values():
        await target.channel.channel_ready()

    async def run(
        target: str, seconds: float, ramp_s: float, in_flight: int, held: int, at_once: int, batch: int
    ) -> Mapping[str, Any]:
        gc.collect()
        loaded = known[target]
        before = loaded.reported
        window = Window(ramp_s, seconds)
        async with asyncio.TaskGroup() as group:
            for _ in range(in_flight):
                group.create_task(
                    _batched(loaded, window, held, at_once, batch) if batch else _unary(loaded, window, held, at_once)
                )
        return {
            "per_s": window.tasks / seconds,
            "placed": window.placed,
            "reported": loaded.reported - before,
        }

    await obey({"run": run}, {"targets": list(known)})


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(**arguments()))
