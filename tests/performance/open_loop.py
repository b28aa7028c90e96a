"""Client: Assign at intended times, whether or not earlier calls have been answered; latency from the intended time."""

import asyncio
import gc
import selectors
from collections.abc import Mapping
from time import perf_counter
from typing import Any

import grpc

from scheduler_api.v1 import schedule_service_pb2
from tests.performance import fleet
from tests.performance.closed_loop import Target
from tests.performance.processes import arguments, obey
from tests.performance.stats import OpenLoop

_RETRY_S = 0.005


async def main(targets: dict[str, str], workers: int) -> None:
    """Load whichever server the parent names."""
    known = {name: Target(address, workers, {}) for name, address in targets.items()}
    for target in known.values():
        await target.channel.channel_ready()
    kinds = fleet.requests()

    async def run(
        target: str, rate_per_s: float, seconds: float, ramp_s: float, held: int, at_once: int
    ) -> Mapping[str, Any]:
        loaded = known[target]
        first = int(rate_per_s * ramp_s)
        plan = OpenLoop(perf_counter() + 0.01, rate_per_s, first + int(rate_per_s * seconds))
        latencies_ms: list[float] = []
        late_ms: list[float] = []
        retries = 0

        async def answered(request: schedule_service_pb2.AssignRequest) -> Any:
            nonlocal retries
            while True:
                try:
                    return await loaded.assign(request)
                except grpc.aio.AioRpcError as error:
                    # A thousand calls under way are all that a connection takes. Its caller would come again, and wait.
                    if error.code() is not grpc.StatusCode.UNAVAILABLE:
                        raise
                    retries += 1
                    await asyncio.sleep(_RETRY_S)

        async def one(number: int) -> None:
            request = schedule_service_pb2.AssignRequest()
            mine = next(loaded.numbers)
            kind = mine % len(kinds)
            request.CopyFrom(kinds[kind])
            request.task.task_id = f"{loaded.prefix}-{mine:07d}"
            late = plan.latency(number, perf_counter())
            response = await answered(request)
            if number >= first:
                latencies_ms.append(plan.latency(number, perf_counter()) * 1e3)
                late_ms.append(late * 1e3)
            loaded.take(response.decision, kind)
            await loaded.report(held, at_once)

        gc.collect()
        gc.disable()  # a pause of the client is no latency of the server
        try:
            async with asyncio.TaskGroup() as group:
                while (at := plan.next_at()) is not None:
                    delay = at - perf_counter()
                    if delay > 0:
                        await asyncio.sleep(delay)
                    for number in plan.due(perf_counter()):
                        group.create_task(one(number))
        finally:
            gc.enable()
        return {"latencies_ms": latencies_ms, "late_ms": late_ms, "retries": retries}

    await obey({"run": run}, {"targets": list(known)})


if __name__ == "__main__":
    # Not uvloop, and not epoll: both round timers to a millisecond, which is the time between two calls.
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner:
        runner.run(main(**arguments()))
