"""Client: worker streams. Each beats as the worker SDK does; beats are paced, or each follows the last one's ack."""

import asyncio
import gc
import time
from collections.abc import Mapping
from typing import Any

import grpc
import uvloop

from scheduler_api.v1 import worker_pb2
from tests.performance import fleet
from tests.performance.processes import arguments, obey

_METHOD = "/scheduler_api.v1.ScheduleService/Schedule"
_OPENING = 100
"""Streams opened at once. Of thousands waiting to be accepted gRPC's core cancels some; that is another question."""

_ACKED_S = 60.0


class Stream:
    """One worker's stream. `listing` says that it lists its leases, of which it has none."""

    def __init__(self, channel: Any, spec: fleet.Spec, *, listing: bool) -> None:
        self._spec = spec
        self._listing = listing
        self._call = channel.stream_stream(
            _METHOD,
            request_serializer=worker_pb2.WorkerHeartbeat.SerializeToString,
            response_deserializer=worker_pb2.WorkerDirective.FromString,
        )()
        self._sequence = 0
        self._writing = asyncio.Lock()  # an ack may be read before the write that it answers has returned
        self.acks = 0
        self.flooding = False
        self._reader: asyncio.Task[None] | None = None

    def _message(self) -> worker_pb2.WorkerHeartbeat:
        self._sequence += 1
        spec = self._spec
        beat = worker_pb2.WorkerHeartbeat(
            worker_id=spec.worker_id,
            cpu_usage=spec.cpu + 0.001 * (self._sequence % 100),
            memory_usage=spec.memory,
            timestamp_ms=time.time_ns() // 1_000_000,
            sequence=self._sequence,
            intent=worker_pb2.WORKER_INTENT_WORK,
            protocol_version=1,
        )
        beat.epoch.boot_id = f"stream-{spec.worker_id}"
        beat.epoch.connection = 1
        if self._listing:
            beat.running.SetInParent()
        return beat

    async def open(self) -> None:
        """Register, and wait for the welcome."""
        beat = self._message()
        beat.registration.capabilities.extend(self._spec.capabilities)
        beat.registration.max_concurrent_tasks = self._spec.slots
        beat.registration.reports_outcomes = True
        await self._send(beat)
        first = await self._call.read()
        if first is grpc.aio.EOF or not first.HasField("welcome"):
            raise RuntimeError(f"no welcome but {first!r}")
        self._reader = asyncio.get_running_loop().create_task(self._read())

    async def _read(self) -> None:
        read = self._call.read
        while (directive := await read()) is not grpc.aio.EOF:
            if directive.HasField("ack"):
                self.acks += 1
                if self.flooding:
                    await self.beat()
        raise RuntimeError(await self._ending())

    async def _ending(self) -> str:
        return f"the server ended a stream: {await self._call.code()}, {await self._call.details()!r}"

    async def beat(self) -> None:
        """Send one heartbeat."""
        await self._send(self._message())

    async def _send(self, beat: worker_pb2.WorkerHeartbeat) -> None:
        try:
            async with self._writing:
                await self._call.write(beat)
        except (asyncio.InvalidStateError, grpc.RpcError) as error:
            raise RuntimeError(await self._ending()) from error

    def check(self) -> None:
        """Raise what its reader met."""
        if self._reader is not None and self._reader.done():
            self._reader.result()


async def main(targets: dict[str, str], workers: int) -> None:
    """Open streams where the parent says, and beat as it says."""
    specs = list(fleet.specs(workers))
    streams: dict[str, list[Stream]] = {name: [] for name in targets}
    kept: list[Any] = []  # a channel that is forgotten is closed

    async def open_streams(target: str, count: int, connections: int, listing: bool) -> Mapping[str, Any]:
        opened = streams[target]
        options = [("grpc.use_local_subchannel_pool", 1)]  # without it, all channels would share one connection
        channels = [grpc.aio.insecure_channel(targets[target], options=options) for _ in range(connections)]
        for channel in channels:
            await channel.channel_ready()
        kept.extend(channels)
        first = len(opened)
        for at in range(first, first + count, _OPENING):
            made = [
                Stream(channels[number % connections], specs[number], listing=listing)
                for number in range(at, min(at + _OPENING, first + count))
            ]
            await asyncio.gather(*(stream.open() for stream in made))
            opened += made
        return {"streams": len(opened)}

    async def pace(target: str, rate_per_s: float, seconds: float) -> Mapping[str, Any]:
        loaded, start = streams[target], time.perf_counter()
        wanted = int(rate_per_s * seconds)
        before = sum(stream.acks for stream in loaded)
        sent = 0
        while sent < wanted:
            due = min(wanted, int((time.perf_counter() - start) * rate_per_s) + 1)
            while sent < due:
                await loaded[sent % len(loaded)].beat()
                sent += 1
            await asyncio.sleep(0.002)
        await asyncio.sleep(0.02)
        for stream in loaded:
            stream.check()
        took = time.perf_counter() - start
        return {"per_s": sent / took, "acks": sum(stream.acks for stream in loaded) - before}

    async def flood(target: str, seconds: float, ramp_s: float) -> Mapping[str, Any]:
        gc.collect()
        loaded = streams[target]
        for stream in loaded:
            stream.flooding = True
            await stream.beat()
        await asyncio.sleep(ramp_s)
        before, start = sum(stream.acks for stream in loaded), time.perf_counter()
        await asyncio.sleep(seconds)
        acks, took = sum(stream.acks for stream in loaded) - before, time.perf_counter() - start
        for stream in loaded:
            stream.flooding = False
        await asyncio.sleep(0.05)
        for stream in loaded:
            stream.check()
        return {"per_s": acks / took}

    async def beat_all(target: str) -> Mapping[str, Any]:
        loaded = streams[target]
        wanted = sum(stream.acks for stream in loaded) + len(loaded)
        for at in range(0, len(loaded), _OPENING):
            await asyncio.gather(*(stream.beat() for stream in loaded[at : at + _OPENING]))
        until = time.monotonic() + _ACKED_S
        while (acks := sum(stream.acks for stream in loaded)) < wanted and time.monotonic() < until:
            await asyncio.sleep(0.05)
            for stream in loaded:
                stream.check()
        return {"acks": acks, "missing": wanted - acks}

    await obey({"open": open_streams, "pace": pace, "flood": flood, "beat_all": beat_all}, {"targets": list(targets)})


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(**arguments()))
