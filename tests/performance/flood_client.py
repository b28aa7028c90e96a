"""Client: one identity that names ever more task types, labels and workers, at a pace; and one that measures calls."""

import asyncio
import os
from collections import Counter
from collections.abc import Mapping
from itertools import count
from time import perf_counter
from typing import Any

import grpc
import uvloop

from scheduler_api.v1 import schedule_service_pb2 as api
from scheduler_api.v1 import schedule_service_pb2_grpc, task_pb2, worker_pb2
from tests.performance.processes import arguments, obey

_AT_ONCE = 1_000
_DEADLINE_S = 30.0


class Flood:
    """Counts what it was answered, by code."""

    def __init__(self, channel: grpc.aio.Channel, token: str) -> None:
        self._stub: Any = schedule_service_pb2_grpc.ScheduleServiceStub(channel)
        self._metadata = (("authorization", f"Bearer {token}"),)
        self._numbers = count()
        self.answers: Counter[str] = Counter()

    async def types(self) -> int:
        """A thousand types in a batch."""
        numbers = [next(self._numbers) for _ in range(_AT_ONCE)]
        await self._batch([task_pb2.Task(task_id=f"flood-{number}", task_type=f"type-{number}") for number in numbers])
        return _AT_ONCE

    async def labels(self) -> int:
        """A hundred labels in a batch."""
        numbers = [next(self._numbers) for _ in range(100)]
        tasks = [task_pb2.Task(task_id=f"flood-{number}", task_type=f"type-{number % 1_000}") for number in numbers]
        for number, each in zip(numbers, tasks, strict=True):
            each.match_labels[f"key-{number % 1_000}"] = f"value-{number}"
        await self._batch(tasks)
        return len(tasks)

    async def workers(self) -> int:
        """Ten workers, each on a stream of its own, which say hello and go."""
        await asyncio.gather(*(self._worker(next(self._numbers)) for _ in range(10)))
        return 10

    async def _worker(self, number: int) -> None:
        call = self._stub.Schedule(metadata=self._metadata, timeout=_DEADLINE_S)
        try:
            await call.write(worker_pb2.WorkerHeartbeat(worker_id=f"flood-{number}"))
            await call.read()
            call.cancel()
            self.answers["welcome"] += 1
        except grpc.aio.AioRpcError as error:
            self.answers[error.code().name] += 1
        except (grpc.aio.UsageError, asyncio.InvalidStateError):  # it was refused before it had said anything
            self.answers[(await call.code()).name] += 1

    async def _batch(self, tasks: list[task_pb2.Task]) -> None:
        for each in tasks:
            each.excluded_workers.append("honest")
        request = api.AssignBatchRequest(requests=[api.AssignRequest(task=each) for each in tasks])
        try:
            response = await self._stub.AssignBatch(request, metadata=self._metadata, timeout=_DEADLINE_S)
            self.answers["answered"] += len(response.results)
        except grpc.aio.AioRpcError as error:
            self.answers[error.code().name] += 1


async def main(address: str, token: str, nice: int = 0) -> None:
    """Obey: `flood` at a pace, or `measure`."""
    os.nice(nice)
    async with grpc.aio.insecure_channel(address) as channel:
        await channel.channel_ready()
        flood = Flood(channel, token)
        stub: Any = schedule_service_pb2_grpc.ScheduleServiceStub(channel)
        metadata = (("authorization", f"Bearer {token}"),)

        async def run(kind: str, seconds: float, per_s: float) -> Mapping[str, Any]:
            send, asked, begun = getattr(flood, kind), 0, perf_counter()
            flood.answers.clear()
            while (now := perf_counter()) < begun + seconds:
                if asked > (now - begun) * per_s:
                    await asyncio.sleep(0.002)
                    continue
                asked += await send()
            return {"asked": asked, "answers": dict(flood.answers)}

        async def measure(seconds: float, per_s: float) -> Mapping[str, Any]:
            """Calls at intended times; how long from then to the answer, in ms."""
            found: list[float] = []
            begun, numbers = perf_counter(), count()
            request = api.GetTaskRequest(task=task_pb2.TaskKey(task_id="nobody knows it"))

            async def one(due: float) -> None:
                try:
                    await stub.GetTask(request, metadata=metadata, timeout=_DEADLINE_S)
                except grpc.aio.AioRpcError as error:
                    if error.code() is not grpc.StatusCode.NOT_FOUND:
                        raise
                found.append((perf_counter() - due) * 1_000)

            async with asyncio.TaskGroup() as group:
                while (due := begun + next(numbers) / per_s) < begun + seconds:
                    await asyncio.sleep(max(0.0, due - perf_counter()))
                    group.create_task(one(due))
            return {"latencies_ms": found}

        await obey({"flood": run, "measure": measure}, {"pid": os.getpid()})


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(**arguments()))
