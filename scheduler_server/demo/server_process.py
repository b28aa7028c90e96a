"""The server: the real one, in a process of its own, on a free port of 127.0.0.1."""

import asyncio
import sys
from pathlib import Path

from scheduler_server.demo.child import Child, DemoFailed

SAYS = b"scheduler-server: serving on "
START_S = 30.0  # a cold start on a slow, busy machine; usually under a second


async def start_server(folder: Path, *settings: str) -> tuple[Child, str]:
    """Start it with its state in `folder`, and with further settings as flags; the process and its address.

    Raises:
        DemoFailed: it did not come to serve.
    """
    state = folder / "state"
    command = [sys.executable, "-m", "scheduler_server", "serve"]
    command += ["--server-listen", "127.0.0.1:0", "--storage-state-folder", str(state), *settings]
    server = await Child.start("server", command, folder)
    try:
        async with asyncio.timeout(START_S):
            while line := await server.line():
                if line.startswith(SAYS):
                    return server, line.removeprefix(SAYS).decode().strip()
    except TimeoutError:
        await server.kill()
        raise DemoFailed(f"the server did not serve within {START_S:.0f} s: {server.why()}") from None
    except asyncio.CancelledError:
        await server.kill()
        raise
    await server.process.wait()
    raise DemoFailed(f"the server did not start: {server.why()}")
