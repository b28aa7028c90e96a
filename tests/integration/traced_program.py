"""A queue service or a worker that sends its spans to a collector, as a program: told what to be by JSON.

{"be": "worker", "collector": URL, "address": ..., "worker_id": ...} runs until it is stopped. {"be": "client", ...,
"tasks": [...], "delivery": "caller"} places each task below a span of its own, named after it; with delivery by the
caller it reports their outcomes too.
"""

import json
import sys
from datetime import timedelta
from typing import Any

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased

from scheduler_server.client import Delivery, OutcomeStatus, SchedulerClient, SchedulerError, Task
from scheduler_server.worker import TaskContext, Worker


def traced(collector: str, name: str, *, sampled: bool) -> TracerProvider:
    """What a program does to have its spans sent: nothing of ours."""
    provider = TracerProvider(
        resource=Resource.create({"service.name": name}), sampler=ParentBased(ALWAYS_ON if sampled else ALWAYS_OFF)
    )
    exporter = OTLPSpanExporter(endpoint=collector, insecure=True)
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=100))
    trace.set_tracer_provider(provider)
    return provider


def work(address: str, worker_id: str) -> None:
    worker = Worker(address, worker_id=worker_id, slots=1)

    @worker.task("nap")
    def nap(task: TaskContext) -> bytes:
        with trace.get_tracer("worker").start_as_current_span("inside"):
            task.cancelled.wait(0.02)
        return (task.trace or "").encode()

    @worker.task("async-nap")
    async def async_nap(task: TaskContext) -> bytes:
        return (task.trace or "").encode()

    @worker.task("broken")
    def broken(task: TaskContext) -> bytes:
        raise ValueError("no good")

    worker.run()


def ask(address: str, tasks: list[str], delivery: str, task_type: str) -> None:
    by_us = delivery == "caller"
    with SchedulerClient(address) as scheduler:
        for task_id in tasks:
            with trace.get_tracer("queue").start_as_current_span(task_id):
                task = Task(task_id=task_id, task_type=task_type)
                try:
                    placement = scheduler.assign(task, delivery=Delivery.CALLER if by_us else Delivery.STREAM, wait=20)
                except SchedulerError as error:
                    sys.stdout.write(json.dumps({"failed": type(error).__name__}) + "\n")
                    continue
                if by_us:
                    scheduler.report_outcome(
                        placement.lease_id, OutcomeStatus.SUCCEEDED, duration=timedelta(seconds=0.5)
                    )
    sys.stdout.write(json.dumps({"done": len(tasks)}) + "\n")


def main() -> None:
    told: dict[str, Any] = json.loads(sys.argv[1])
    be = told.pop("be")
    provider = traced(told.pop("collector"), be, sampled=told.pop("sampled", True))
    try:
        (work if be == "worker" else ask)(**told)
    finally:
        provider.shutdown()


if __name__ == "__main__":
    main()
