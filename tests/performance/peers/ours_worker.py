"""A worker of ours in a process of its own, made with the SDK as its documentation says."""

import asyncio
from collections.abc import Mapping
from typing import Any

from scheduler_server.worker import TaskContext, Worker
from tests.performance.processes import arguments, obey


async def main(address: str, worker_id: str, slots: int, threads: bool) -> None:
    """Work until the parent goes. `threads`: a plain function as handler, else a coroutine."""
    worker = Worker(address, worker_id=worker_id, slots=slots)
    done = 0

    def noop(task: TaskContext) -> None:
        nonlocal done
        done += 1

    async def anoop(task: TaskContext) -> None:
        noop(task)

    if threads:
        worker.task("noop")(noop)
    else:
        worker.task("noop")(anoop)
    worker.start()

    async def counted() -> Mapping[str, Any]:
        return {"done": done}

    await obey({"counted": counted}, {})


if __name__ == "__main__":
    asyncio.run(main(**arguments()))
