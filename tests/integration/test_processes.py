"""The helpers themselves: a test run that is killed leaves nothing behind."""

import signal
import sys

import psutil

from tests.integration.processes import House, until

STARTS = """
import asyncio, pathlib, sys
from tests.integration.processes import House

async def main():
    house = House(pathlib.Path(sys.argv[1]))
    server = await house.server()
    (worker,) = await house.workers(server, "a")
    print(server.pid, worker.pid, flush=True)
    await asyncio.sleep(3600)

asyncio.run(main())
"""


async def test_a_killed_test_run_takes_its_servers_and_workers_with_it(house: House) -> None:
    script = house.folder / "run.py"
    script.write_text(STARTS)
    root = __file__.partition("/tests/")[0]
    run = house.child([sys.executable, str(script), str(house.folder)], environ={"PYTHONPATH": root})
    await until(lambda: run.lines or not run.running, "both run")
    assert run.lines, run.errors
    children = [psutil.Process(int(pid)) for pid in run.lines[0].split()]
    assert all(child.is_running() for child in children)
    run.signal(signal.SIGKILL)
    # Dead and not yet reaped by its new parent is gone enough.
    await until(
        lambda: not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children),
        "both are gone",
    )
