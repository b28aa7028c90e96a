"""Fleets to look at. Each is there, with what it does, while its `with` lasts."""

import asyncio
import json
import random
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import grpc

from scheduler_api.v1 import admin_service_pb2 as admin
from scheduler_api.v1 import schedule_service_pb2_grpc, worker_pb2
from scheduler_server.client import Delivery, OutcomeStatus, SchedulerClient, SchedulerError, Task
from scheduler_server.worker import TaskContext, Worker

_DEADLINE_S = 120.0
_KINDS = {"transcode": 1.6, "thumbnail": 0.15, "parse-csv": 0.4, "train": 2.5, "report": 0.8}
"""Task types, and seconds that one of them takes."""
_NEEDS = {"transcode": ["ffmpeg"], "train": ["gpu"]}


@contextmanager
def nobody(address: str) -> Iterator[None]:
    """No workers; two tasks wait for some."""
    with SchedulerClient(address) as client:
        for number in (1, 2):
            task = Task(task_id=f"early-{number}", task_type="report")
            client.assign(task, enqueue=True, delivery=Delivery.STREAM)
        yield


@contextmanager
def at_work(address: str) -> Iterator[None]:
    """Eight workers with more work than they have slots for."""
    chance = random.Random(4)
    over = threading.Event()
    with ExitStack() as stack:
        for name, slots, capabilities in [
            ("ingest-1", 4, ["cpu", "csv"]), ("ingest-2", 4, ["cpu", "csv"]), ("media-1", 6, ["cpu", "ffmpeg"]),
            ("media-2", 6, ["cpu", "ffmpeg"]), ("media-3", 3, ["cpu", "ffmpeg"]), ("render-gpu-1", 2, ["cpu", "gpu"]),
            ("render-gpu-2", 2, ["cpu", "gpu"]), ("spare-1", 2, ["cpu"]),
        ]:  # fmt: skip
            worker = Worker(address, worker_id=name, slots=slots, capabilities=capabilities, node=f"rack-{slots}")
            for kind in _KINDS:
                worker.task(kind)(_work)
            worker.start()
            stack.callback(worker.wait, 30.0)
            stack.callback(worker.stop)
        client = stack.enter_context(SchedulerClient(address))
        _workers(client, 8)
        offering = threading.Thread(target=_offer, args=(client, chance, over))
        offering.start()
        stack.callback(offering.join)
        stack.callback(over.set)
        _until(lambda: _waiting(client) >= 12 and _judged(client) >= 200, "tasks wait, and predictions were judged")
        yield


def _work(task: TaskContext) -> bytes:
    told = json.loads(task.payload)
    task.cancelled.wait(told["s"])
    if told["fails"]:
        raise ValueError("input is truncated")
    return b""


def _offer(client: SchedulerClient, chance: random.Random, over: threading.Event) -> None:
    number = 1000
    while not over.is_set():
        if _waiting(client) >= 24:
            over.wait(0.2)
            continue
        number += 1
        kind = chance.choices(list(_KINDS), [3, 8, 6, 1, 3])[0]
        payload = {"s": _KINDS[kind] * chance.lognormvariate(0, 0.25), "fails": chance.random() < 0.02}
        task = Task(
            task_id=f"{kind}-{number}",
            task_type=kind,
            tenant=chance.choice(["", "acme", "blue"]),
            priority=chance.choice([0.2, 0.5, 0.5, 0.9]),
            required_capabilities=_NEEDS.get(kind, []),
            payload=json.dumps(payload).encode(),
        )
        client.assign(task, enqueue=True, delivery=Delivery.STREAM)
        over.wait(0.02)


@contextmanager
def odd_names(address: str) -> Iterator[None]:
    """Three workers and some tasks whose names are as long and as strange as names may be."""
    names = [
        "QqQq" + "界面工人" * 49,  # a screen cleared, then wide letters: 200 in all
        "plain-" + "long-worker-name-" * 11 + "ZzZzXxXx",
        "YyYyYy👩‍🔬é" + "\uff57\uff49\uff44\uff45" * 10 + "e\u0301" * 70,
    ]
    beats = [
        worker_pb2.WorkerHeartbeat(
            worker_id=name[:200],
            cpu_usage=0.4,
            registration=worker_pb2.WorkerRegistration(
                node=("node-ZzZz-節点" * 20)[:200],
                capabilities=["能力-" + "gpu-" * 40, "cpu"],
                max_concurrent_tasks=3,
                reports_outcomes=True,
            ),
        )
        for name in _printable(names)
    ]
    with _beating(address, beats), SchedulerClient(address) as client:
        for number in range(14):
            name = ["QqQq任务" * 25, "ordinary-" + "task" * 40, "ZzZzXxXx" * 20][number % 3]
            task = Task(task_id=f"{name[:190]}-{number}", task_type=f"類型{'-kind' * 30}", tenant="テナント" * 10)
            placed = client.assign(task, enqueue=True)
            if number % 4 == 0 and placed.lease_id:
                client.report_outcome(placed.lease_id, OutcomeStatus.SUCCEEDED, duration=1.5 + number)
        yield


def _printable(names: list[str]) -> list[str]:
    """Without what the server itself refuses; the relay puts such letters in."""
    return ["".join(letter for letter in name if letter.isprintable()) for name in names]


@contextmanager
def thousands(address: str) -> Iterator[None]:
    """5,000 workers, some of them loaded, and 12,000 tasks on them."""
    chance = random.Random(5)
    beats = [
        worker_pb2.WorkerHeartbeat(
            worker_id=f"{zone}-worker-{number:04d}",
            cpu_usage=min(1.0, chance.betavariate(2, 4)),
            memory_usage=chance.betavariate(2, 5),
            registration=worker_pb2.WorkerRegistration(
                node=f"{zone}-node-{number // 16:03d}",
                capabilities=["cpu", *(["gpu"] if number % 9 == 0 else [])],
                max_concurrent_tasks=chance.choice([4, 8, 16]),
                labels={"zone": zone},
                reports_outcomes=True,
            ),
        )
        for number in range(5_000)
        for zone in ["abc"[number % 3]]
    ]
    with _beating(address, beats), SchedulerClient(address) as client:
        for batch in range(12):
            tasks = [Task(task_id=f"t-{batch}-{number}", task_type="report") for number in range(1_000)]
            for placed in client.assign_batch(tasks, timeout=60):
                if isinstance(placed, SchedulerError):
                    raise placed
        yield


@contextmanager
def _beating(address: str, beats: list[worker_pb2.WorkerHeartbeat]) -> Iterator[None]:
    """Workers that beat every few seconds, and do nothing."""
    loop = asyncio.new_event_loop()

    async def stream(stub: Any, beat: worker_pb2.WorkerHeartbeat) -> None:
        async def said() -> AsyncIterator[worker_pb2.WorkerHeartbeat]:
            yield beat
            later = worker_pb2.WorkerHeartbeat(worker_id=beat.worker_id, cpu_usage=beat.cpu_usage)
            later.memory_usage = beat.memory_usage
            while True:
                await asyncio.sleep(random.uniform(6, 9))
                yield later

        async for _ in stub.Schedule(said()):
            pass

    async def live() -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(address, options=options) as first, asyncio.TaskGroup() as streams:
            channels = [first, *(grpc.aio.insecure_channel(address, options=options) for _ in range(len(beats) // 900))]
            for number, beat in enumerate(beats):  # a server takes 1,000 streams of a connection
                stub = schedule_service_pb2_grpc.ScheduleServiceStub(channels[number // 900])
                streams.create_task(stream(stub, beat))
                if number % 50 == 0:
                    await asyncio.sleep(0.05)

    task = loop.create_task(live())

    def run() -> None:
        try:
            loop.run_until_complete(task)
        except asyncio.CancelledError:
            return

    thread = threading.Thread(target=run)
    thread.start()
    try:
        with SchedulerClient(address) as client:
            _workers(client, len(beats))
        yield
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
        loop.close()


def _workers(client: SchedulerClient, count: int) -> None:
    _until(
        lambda: client.call(client.admin.GetStatus, admin.GetStatusRequest()).workers.connected == count,
        f"{count} workers are connected",
    )


def _waiting(client: SchedulerClient) -> int:
    return client.call(client.admin.GetLoad, admin.GetLoadRequest()).queued_tasks


def _judged(client: SchedulerClient) -> int:
    return client.call(client.admin.GetAccuracy, admin.GetAccuracyRequest()).overall.sample_count


def _until(true: Any, what: str) -> None:
    end = time.monotonic() + _DEADLINE_S
    while not true():
        if time.monotonic() > end:
            raise AssertionError(f"not within {_DEADLINE_S:g} s: {what}")
        time.sleep(0.1)
