"""The real server in a process of its own, which takes its tasks from a stream of Redis."""

import asyncio
import logging
import sys
from collections.abc import Mapping
from typing import Any

import uvloop

from scheduler_server.app import App
from scheduler_server.dispatch.settings import DispatchSettings
from scheduler_server.rpc.collector import collect_when_idle, settle
from scheduler_server.rpc.server import ServerSettings
from scheduler_server.settings import Settings, StorageSettings
from tests.performance.processes import arguments, obey


async def main(url: str, stream: str, batch: int, state_folder: str) -> None:
    """Serve until the parent goes."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    app = App(
        Settings(
            server=ServerSettings(listen="127.0.0.1:0"),
            storage=StorageSettings(state_folder=state_folder),
            dispatch=DispatchSettings(url=url, streams=(stream,), dead_letters=f"{stream}:dead", batch=batch),
        )
    )
    await app.start()
    settle()  # here and below as `serve` does
    collecting = asyncio.get_running_loop().create_task(collect_when_idle(lambda: app.shell.last_event))

    async def status() -> Mapping[str, Any]:
        dispatcher = app.stores.tasks
        assert dispatcher is not None
        return {
            "met": {each.value: count for each, count in dispatcher.intake.met.items()},
            "dead": sum(dispatcher.intake.dead.values()),
            "held": len(dispatcher.holdings),
            "error": dispatcher.link.last_error,
        }

    await obey({"status": status}, {"address": app.address})
    collecting.cancel()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(**arguments()))
