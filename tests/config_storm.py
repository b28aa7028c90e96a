"""Changes of the configuration, one after another, while tasks are placed at a steady rate."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import grpc
from google.protobuf.json_format import ParseDict

from scheduler_api.v1 import (
    admin_service_pb2,
    admin_service_pb2_grpc,
    schedule_service_pb2,
    schedule_service_pb2_grpc,
    task_pb2,
    worker_pb2,
)
from scheduler_server.client import service_config

_WORKERS, _SLOTS = 4, 2_000
_DEADLINE_S = 20.0
_IN_FLIGHT = 500
"""Calls at once: below what the server allows a connection, however slow the machine is."""

_OPTIONS = (("grpc.use_local_subchannel_pool", 1), ("grpc.service_config", service_config()))
"""As every client is to have it: what the server had no room for is asked again."""


def some_change(chance: Random) -> dict[str, Any]:
    """Values of one change: strategies, weights, thresholds, limits, defaults."""
    changes: list[dict[str, Any]] = [
        {"scorer.strategy": chance.choice(["", "weighted", "capability", "specialist", "earliest_finish"])},
        {"scorer.wait_weight": round(chance.uniform(0.1, 1.0), 6), "scorer.load_weight": round(chance.random(), 6)},
        {"predictor.strategy": chance.choice(["adaptive", "ema", "median", "last_two"])},
        {"predictor.default_ms": round(chance.uniform(100.0, 9_000.0), 3)},
        {"queue.order": chance.choice(["", "fifo", "priority", "shortest", "fair"])},
        {"queue.patience": round(chance.uniform(0.0, 100.0), 3)},
        {"assignment.objective": chance.choice(["throughput", "latency", "even", "balanced"])},
        {"health.degraded_load": round(chance.uniform(0.86, 1.0), 6)},
        {"health.remove_after_s": round(chance.uniform(300.0, 900.0), 3)},
        {"fallback.failure_threshold": chance.randint(1, 99)},
        {"alerts.clear_after_s": round(chance.uniform(1.0, 60.0), 3)},
    ]
    return chance.choice(changes)


class Storm:
    """What was seen: calls by code, revisions that decisions carried, and those that were answered to changes."""

    def __init__(self, address: str, *, per_s: float, seed: int = 1) -> None:
        self.channel = grpc.aio.insecure_channel(address, options=_OPTIONS)
        self._other = grpc.aio.insecure_channel(address, options=_OPTIONS)
        self.admin = admin_service_pb2_grpc.AdminServiceStub(self._other)
        self._tasks = schedule_service_pb2_grpc.ScheduleServiceStub(self.channel)
        self._per_s = per_s
        self._chance = Random(seed)
        self.codes: Counter[str] = Counter()
        self.carried: Counter[int] = Counter()
        self.answered: dict[int, dict[str, Any]] = {}  # by revision, what was asked for
        self.took_s: list[float] = []
        self.lasted_s = 0.0
        self._calls: set[asyncio.Task[None]] = set()
        self._name = f"storm-{seed}"

    async def revisions(self) -> set[int]:
        """Every revision that the history has."""
        found: set[int] = set()
        request = admin_service_pb2.ListConfigHistoryRequest(page_size=1_000)
        while True:
            page = await self.admin.ListConfigHistory(request, timeout=_DEADLINE_S)
            found |= {each.revision for each in page.revisions}
            request.page_token = page.next_page_token
            if not request.page_token:
                return found

    async def run(self, changes: int, per_s: float) -> None:
        """So many changes, at most so many a second, while tasks are placed; all calls are answered at the end."""
        streams = [self._tasks.Schedule(self._beats(f"{self._name}-{number}")) for number in range(_WORKERS)]
        for stream in streams:
            await stream.read()
        placing = asyncio.create_task(self._place())
        began = time.monotonic()
        try:
            for number in range(changes):
                await asyncio.sleep(max(0.0, began + number / per_s - time.monotonic()))
                await self.change()
        finally:
            self.lasted_s = time.monotonic() - began
            placing.cancel()
            await asyncio.gather(placing, return_exceptions=True)
            await asyncio.gather(*self._calls)
            for stream in streams:
                stream.cancel()

    async def change(self) -> None:
        """One change."""
        values = some_change(self._chance)
        request = ParseDict({"values": values, "reason": "storm"}, admin_service_pb2.UpdateConfigRequest())
        began = time.monotonic()
        answer = await self.admin.UpdateConfig(request, timeout=_DEADLINE_S)
        self.took_s.append(time.monotonic() - began)
        self.answered[answer.revision] = values

    async def _beats(self, worker_id: str) -> AsyncIterator[worker_pb2.WorkerHeartbeat]:
        registration = worker_pb2.WorkerRegistration(max_concurrent_tasks=_SLOTS, reports_outcomes=True)
        yield worker_pb2.WorkerHeartbeat(worker_id=worker_id, registration=registration)
        while True:
            await asyncio.sleep(0.5)
            yield worker_pb2.WorkerHeartbeat(worker_id=worker_id, cpu_usage=self._chance.random() * 0.5)

    async def _place(self) -> None:
        began, number = time.monotonic(), 0
        while True:
            while number < (time.monotonic() - began) * self._per_s and len(self._calls) < _IN_FLIGHT:
                number += 1
                call = asyncio.create_task(self._one(f"{self._name}-{number}"))
                self._calls.add(call)
                call.add_done_callback(self._calls.discard)
            await asyncio.sleep(0.002)

    async def _one(self, task_id: str) -> None:
        task = task_pb2.Task(task_id=task_id, task_type=f"type-{hash(task_id) % 7}")
        try:
            made = await self._tasks.Assign(schedule_service_pb2.AssignRequest(task=task), timeout=_DEADLINE_S)
            self.carried[made.decision.policy_revision] += 1
            outcome = task_pb2.Outcome(status=task_pb2.OUTCOME_STATUS_SUCCEEDED)
            outcome.duration.FromMilliseconds(100)
            report = schedule_service_pb2.OutcomeReport(lease_id=made.decision.lease_id, outcome=outcome)
            request = schedule_service_pb2.ReportOutcomeRequest(reports=[report])
            await self._tasks.ReportOutcome(request, timeout=_DEADLINE_S)
            self.codes["OK"] += 1
        except grpc.aio.AioRpcError as error:
            self.codes[f"{error.code().name}: {error.details()}"] += 1

    async def close(self) -> None:
        """End the connection."""
        await self.channel.close()
        await self._other.close()
