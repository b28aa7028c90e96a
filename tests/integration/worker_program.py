"""An SDK worker as a program: told who it is by one argument of JSON; tells what its handlers do, a line of JSON each.

A line on its stdin, `{"lease": ID, "s": SECONDS}`, is a task that its queue service delivered.
"""

import asyncio
import hashlib
import json
import logging
import os
import sys
import threading
import time
from typing import Any

from scheduler_server.worker import TaskContext, TaskDeclined, Worker, WorkerError


def tell(**words: Any) -> None:
    """One write per line: handlers run on several threads."""
    os.write(1, (json.dumps(words | {"at": time.monotonic()}) + "\n").encode())


def handle(worker: Worker) -> None:
    def about(task: TaskContext) -> dict[str, Any]:
        return {"attempt": task.attempt, "lease": task.lease_id}

    @worker.task("nap")
    def nap(task: TaskContext) -> bytes:
        tell(began=task.task_id, **about(task))
        stopped = task.cancelled.wait(json.loads(task.payload)["s"])
        tell(ended=task.task_id, stopped=stopped, **about(task))
        return f"{task.task_id}, attempt {task.attempt}".encode()

    @worker.task("async-nap")
    async def async_nap(task: TaskContext) -> bytes:
        tell(began=task.task_id, **about(task))
        try:
            await asyncio.sleep(json.loads(task.payload)["s"])
        finally:
            tell(ended=task.task_id, stopped=task.cancelled.is_set(), **about(task))
        return f"{task.task_id}, attempt {task.attempt}".encode()

    @worker.task("digest")
    def digest(task: TaskContext) -> bytes:
        return hashlib.sha256(task.payload).digest()

    @worker.task("broken")
    def broken(task: TaskContext) -> bytes:
        raise ValueError(f"no good: {task.task_id}")

    @worker.task("picky")
    def picky(task: TaskContext) -> bytes:
        if task.attempt == 1:
            raise TaskDeclined("not the first time")
        return b"taken"


def listen(worker: Worker) -> None:
    def run(lease: str, seconds: float) -> None:
        with worker.running_task(lease):
            time.sleep(seconds)

    for line in sys.stdin:
        told = json.loads(line)
        threading.Thread(target=run, args=(told["lease"], told["s"]), daemon=True).start()


def main() -> None:
    about = json.loads(sys.argv[1])
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    handles = about.pop("handles", True)
    worker = Worker(about.pop("address"), **about)
    if handles:
        handle(worker)
    threading.Thread(target=listen, args=(worker,), daemon=True).start()
    try:
        worker.run()
    except WorkerError as error:
        tell(failed=type(error).__name__, message=str(error))
        sys.exit(3)


if __name__ == "__main__":
    main()
