"""Workers that take what they are handed at once: acknowledged with the next heartbeat, finished with the one after.

They send as the worker SDK does: at once when there is news, and what comes within 5 ms of that together.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import grpc
import uvloop

from scheduler_api.v1 import task_pb2, worker_pb2
from tests.performance.processes import arguments, obey
from tests.performance.stats import quantile

_GAP_S = 0.005  # the SDK's
_METHOD = "/scheduler_api.v1.ScheduleService/Schedule"


class Taker:
    """One worker's stream."""

    def __init__(self, channel: Any, worker_id: str, slots: int) -> None:
        self._call = channel.stream_stream(
            _METHOD,
            request_serializer=worker_pb2.WorkerHeartbeat.SerializeToString,
            response_deserializer=worker_pb2.WorkerDirective.FromString,
        )()
        self._id = worker_id
        self._slots = slots
        self._sequence = 0
        self._taken: list[str] = []  # to be acknowledged
        self._held: list[str] = []  # acknowledged, to be finished
        self._news = asyncio.Event()
        self.count = 0
        self.latencies_s: list[float] = []

    def _beat(self) -> worker_pb2.WorkerHeartbeat:
        self._sequence += 1
        beat = worker_pb2.WorkerHeartbeat(worker_id=self._id, cpu_usage=0.2, memory_usage=0.2, sequence=self._sequence)
        beat.timestamp_ms = time.time_ns() // 1_000_000
        beat.queue_depth = len(self._taken) + len(self._held)
        beat.epoch.boot_id, beat.epoch.connection = f"boot-{self._id}", 1
        return beat

    async def open(self) -> None:
        """Register, and begin to take."""
        beat = self._beat()
        beat.registration.max_concurrent_tasks = self._slots
        beat.registration.accepts_tasks = True
        beat.registration.reports_outcomes = True
        await self._call.write(beat)
        if not (await self._call.read()).HasField("welcome"):
            raise RuntimeError("no welcome")
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._read()), loop.create_task(self._write())]

    async def _read(self) -> None:
        read = self._call.read
        while (directive := await read()) is not grpc.aio.EOF:
            if directive.HasField("run_task"):
                run = directive.run_task
                if run.task.payload:
                    self.latencies_s.append(time.time() - float(run.task.payload))
                self._taken.append(run.lease_id)
                self.count += 1
                self._news.set()
            elif directive.HasField("probe"):
                beat = self._beat()
                beat.probe_nonce = directive.probe.nonce
                await self._call.write(beat)

    async def _write(self) -> None:
        while True:
            if not self._held:
                try:
                    async with asyncio.timeout(1.0):
                        await self._news.wait()
                except TimeoutError:
                    pass
            self._news.clear()
            taken, self._taken = self._taken, []
            held, self._held = self._held, taken
            beat = self._beat()
            for lease_id in taken:
                beat.reports.add(lease_id=lease_id).acknowledged.SetInParent()
            for lease_id in held:
                finished = beat.reports.add(lease_id=lease_id).finished
                finished.status = task_pb2.OUTCOME_STATUS_SUCCEEDED
                finished.duration.nanos = 20_000_000
            await self._call.write(beat)
            await asyncio.sleep(_GAP_S)


async def main(targets: dict[str, str], workers: int, slots: int) -> None:
    """Be workers of all targets until the parent goes."""
    takers: dict[str, list[Taker]] = {}
    channels = []
    for name, address in targets.items():
        channel = grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
        channels.append(channel)
        takers[name] = [Taker(channel, f"{name}-{number}", slots) for number in range(workers)]
        for taker in takers[name]:
            await taker.open()

    async def counted(target: str) -> Mapping[str, Any]:
        return {"count": sum(taker.count for taker in takers[target])}

    async def latencies(target: str) -> Mapping[str, Any]:
        found = sorted(value for taker in takers[target] for value in taker.latencies_s)
        for taker in takers[target]:
            taker.latencies_s = []
        if not found:
            return {"count": 0}
        return {
            "count": len(found),
            "p50_ms": quantile(found, 0.5) * 1e3,
            "p99_ms": quantile(found, 0.99) * 1e3,
            "max_ms": found[-1] * 1e3,
        }

    await obey({"counted": counted, "latencies": latencies}, {})


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(**arguments()))
