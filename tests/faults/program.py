"""An SDK worker that writes down what happens to it, told who it is by one argument of JSON.

It is the SDK as it is, with an ear at three places of it: a hand-over comes in, a lease is let go of, the server has
acknowledged a message. A line is written before what it tells of can be known to anybody else, so that no other process
can react to something that the log does not have yet.
"""

import json
import os
import signal
import sys
import time
from typing import Any

from scheduler_api.v1.worker_pb2 import GoodbyeReason, RefusedReport, RunTask, WorkerDirective, WorkerHeartbeat
from scheduler_api.v1.worker_pb2 import WorkerIntent as Intent
from scheduler_server.worker import TaskContext, Worker
from scheduler_server.worker.measure import Sample
from scheduler_server.worker.running import Lease, Leases
from scheduler_server.worker.session import Session
from scheduler_server.worker.work import Work

_ABOUT = json.loads(sys.argv[1])
_LOG = os.open(_ABOUT.pop("log"), os.O_WRONLY | os.O_APPEND)
_PROCESS = _ABOUT.pop("process")


def tell(what: str, **about: Any) -> None:
    """One write per line: handlers run on several threads."""
    line = json.dumps({"at": time.monotonic(), "what": what, "process": _PROCESS, **about}) + "\n"
    os.write(_LOG, line.encode())


class _ToldWork(Work):
    drain_said_in: int | None = None  # the first message of this session that says that the worker drains

    def hand_over(self, run: RunTask, now: float) -> None:
        """Write it down, refused or not."""
        task = run.task
        needs = {"required": list(task.required_capabilities), "excluded": list(task.excluded_workers)}
        tell("handed", lease=run.lease_id, task=task.task_id, attempt=task.attempt, **needs)
        super().hand_over(run, now)
        if run.lease_id not in self.leases:
            tell("closed", lease=run.lease_id)

    def handled(self, sequence: int, refused: Any) -> None:
        """Write down the first acknowledgement that covers the wish to drain."""
        if self.drain_said_in is not None and sequence >= self.drain_said_in:
            self.drain_said_in = None
            tell("drained")
        told: list[RefusedReport] = list(refused)
        super().handled(sequence, told)


class _ToldLeases(Leases):
    def remove(self, lease_id: str) -> Lease | None:
        """Write it down before anybody hears of it."""
        if lease_id in self:
            tell("closed", lease=lease_id)
        return super().remove(lease_id)


def _listen() -> None:
    """Sessions say how they begin, when they first say that the worker drains, and how they end."""
    heartbeat, receive = Session.heartbeat, Session.receive

    def told_heartbeat(self: Session, now: float, wall_ms: int, sample: Sample) -> WorkerHeartbeat:
        beat = heartbeat(self, now, wall_ms, sample)
        work = self._work
        if isinstance(work, _ToldWork):
            if beat.sequence == 1:
                work.drain_said_in = None
            if beat.intent != Intent.WORKER_INTENT_WORK and work.drain_said_in is None:
                work.drain_said_in = beat.sequence
        return beat

    def told_receive(self: Session, directive: WorkerDirective, now: float) -> None:
        if directive.HasField("welcome"):
            tell("welcome")
        if directive.HasField("goodbye"):
            tell("goodbye", reason=GoodbyeReason.Name(directive.goodbye.reason).removeprefix("GOODBYE_REASON_"))
        receive(self, directive, now)

    Session.heartbeat = told_heartbeat  # type: ignore[method-assign] # an ear in the SDK, in this process alone
    Session.receive = told_receive  # type: ignore[method-assign] # as above


def _handlers(worker: Worker) -> None:
    @worker.task("nap")
    def nap(task: TaskContext) -> bytes:
        about = {"lease": task.lease_id, "task": task.task_id}
        tell("began", attempt=task.attempt, **about)
        stopped = task.cancelled.wait(json.loads(task.payload)["s"])
        tell("ended", stopped=stopped, **about)
        return b""

    @worker.task("poison")
    def poison(task: TaskContext) -> bytes:
        tell("began", attempt=task.attempt, lease=task.lease_id, task=task.task_id)
        task.cancelled.wait(json.loads(task.payload)["s"])
        tell("killed")
        os.kill(os.getpid(), signal.SIGKILL)
        return b""


def main() -> None:
    """Run until it is told to leave, or worse."""
    _listen()
    worker = Worker(_ABOUT.pop("address"), **_ABOUT)
    engine = worker._engine
    engine.work.__class__ = _ToldWork
    engine.work.leases.__class__ = _ToldLeases
    _handlers(worker)
    worker.run()


if __name__ == "__main__":
    main()
