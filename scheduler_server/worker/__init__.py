"""How does a program become a worker?

    from scheduler_server.worker import TaskContext, Worker

    worker = Worker("localhost:50051", worker_id="w1", slots=4, capabilities=["gpu"])

    @worker.task("resize")
    def resize(task: TaskContext) -> bytes | None:
        return shrink(task.payload, width=int(task.features["width"]))

    worker.run()  # until SIGTERM or SIGINT; then running tasks are finished and the worker leaves

A program whose tasks come by other means says only what it runs: `with worker.running_task(lease_id): ...`.

May import: grpc, google.protobuf, psutil, scheduler_api, OpenTelemetry's API where it is installed, the standard
library. Nothing of the server: this folder lives in other people's programs.

What is decided is kept apart from what is done. Pure, with time as an argument:

    work.py          what the worker has to do and to say, whatever becomes of its streams
    running.py       the leases: held, running, listed
    outbox.py        reports, repeated until acknowledged
    session.py       one stream: what to send, when, and what an answer means
    ending.py        a stream has ended: come back, when, or never?
    backoff.py       how long to wait before connecting again
    outcome.py       how a task ended, within the contract's limits
    profile.py       who this worker is      calendar.py   when it works
    offer.py         a task that somebody decides about

What touches the world:

    worker.py        the public face          engine.py     the lock, the threads, the way out
    link.py          the stream, on threads   channel.py    how a dead server is noticed
    handlers.py      from lease to outcome    pool.py, coroutines.py   where handlers run
    measure.py, cgroup.py   CPU and memory    signals.py    SIGTERM and SIGINT
    tracing.py       a span around each task that is traced

A drain that the server asks for lasts until the server says that none holds any more, or the session ends:
it is said again after the next welcome. One that the worker begins (SIGTERM, `stop`) lasts until it has left:
what is held and not started goes back first, what runs has `drain_timeout` to finish.
"""

from scheduler_server.worker.calendar import EVERY_DAY, WEEKDAYS, Absence, Calendar, Hours
from scheduler_server.worker.errors import (
    TaskDeclined,
    WorkerDismissed,
    WorkerError,
    WorkerRefused,
    WorkerSuperseded,
)
from scheduler_server.worker.offer import Offer
from scheduler_server.worker.task_context import RunningTask, TaskContext
from scheduler_server.worker.worker import Worker

__all__ = [
    "EVERY_DAY",
    "WEEKDAYS",
    "Absence",
    "Calendar",
    "Hours",
    "Offer",
    "RunningTask",
    "TaskContext",
    "TaskDeclined",
    "Worker",
    "WorkerDismissed",
    "WorkerError",
    "WorkerRefused",
    "WorkerSuperseded",
]
