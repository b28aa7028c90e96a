"""The demo, in order: start everything, play one of the two stories, end it all."""

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import Awaitable, Sequence
from pathlib import Path

from scheduler_server.client import AsyncSchedulerClient
from scheduler_server.demo import arrivals, shadowed
from scheduler_server.demo.against_turns import play_against_turns
from scheduler_server.demo.child import Child, DemoFailed
from scheduler_server.demo.fleet import FLEET, SLOTS, Fleet
from scheduler_server.demo.over_redis import play_over_redis, settings
from scheduler_server.demo.pace import share_of_core
from scheduler_server.demo.redis_process import redis_program, start_redis
from scheduler_server.demo.round_robin import RoundRobin
from scheduler_server.demo.screen import Screen, Terminal
from scheduler_server.demo.server_process import start_server
from scheduler_server.demo.server_view import ServerView
from scheduler_server.demo.stage import Options, Stage
from scheduler_server.demo.work import BY_TYPE, unit_cost_s

MOST_PER_S = 25  # of --tasks per second of --seconds: the mean task then still takes 0.2 s
STOP_S = 10.0  # for workers to leave and the server to write its state
ABORT_S = 1.0  # the same when the demo is stopped: Ctrl-C must not take long


def main(argv: Sequence[str]) -> int:
    """0 when every task ran and every process ended well; 1 otherwise, with one line that says what; 128 + a signal."""
    options = _parse(argv)
    try:
        return asyncio.run(_until_stopped(options))
    except BrokenPipeError:  # nobody reads any more
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _parse(argv: Sequence[str]) -> Options:
    parser = argparse.ArgumentParser(
        prog="scheduler-server demo",
        description="A server, six worker processes and a queue of real tasks. With --queue assign the same tasks come"
        " a second time, by round robin; with --queue redis they come by a stream of a Redis of the demo's own, and one"
        " worker is killed on the way.",
    )
    parser.add_argument(
        "--queue", choices=("assign", "redis"), default="assign", help="how tasks come (default %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=1, help="same seed, same tasks and arrivals (default %(default)s)")
    parser.add_argument("--tasks", type=int, default=300, help="tasks, 20 to 5000 (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=30, help="about how long, 4 to 600 (default %(default)s)")
    given = parser.parse_args(argv)
    if not 20 <= given.tasks <= 5_000:
        parser.error(f"--tasks: from 20 to 5000 (got {given.tasks})")
    if not 4 <= given.seconds <= 600:
        parser.error(f"--seconds: from 4 to 600 (got {given.seconds:g})")
    if given.tasks > MOST_PER_S * given.seconds:
        parser.error(f"--tasks: at most {MOST_PER_S} per second of --seconds, shorter tasks would only be overhead")
    return Options(seed=given.seed, tasks=given.tasks, seconds=given.seconds, redis=given.queue == "redis")


async def _until_stopped(options: Options) -> int:
    """The demo, until it is over or a signal asks it to stop."""
    loop = asyncio.get_running_loop()
    demo = asyncio.create_task(_demo(options))
    asked: list[int] = []

    def stop(number: int) -> None:
        if not asked:  # again: it is stopping already, and that is bounded
            demo.cancel()
        asked.append(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop, number)
    await asyncio.wait({demo})
    if asked:
        sys.stderr.write("scheduler-server demo: stopped\n")
        return 128 + asked[0]
    error = demo.exception()
    while isinstance(error, BaseExceptionGroup):  # of what failed together, the first is told
        error = error.exceptions[0]
    if isinstance(error, DemoFailed):
        sys.stderr.write(f"scheduler-server demo: {error}\n")
        return 1
    if error is not None:
        raise error
    return 0


async def _demo(options: Options) -> None:
    """The whole story. Whatever happens, no process is left when it returns."""
    screen = Screen(Terminal(highlight=False))
    program = redis_program() if options.redis else ""
    turns, fleet = RoundRobin(FLEET), Fleet()  # type: ignore[abstract] # its other methods answer UNIMPLEMENTED
    servers: list[Child] = []
    with tempfile.TemporaryDirectory(prefix="scheduler-server-demo-") as name:
        folder = Path(name)
        try:
            async with asyncio.TaskGroup() as group:
                beside = f"{Path(program).name}, " if program else ""
                screen.say(f"scheduler-server demo: starting {beside}a server and {len(FLEET)} workers, {SLOTS} slots")
                chunks = arrivals.chunks(options.seed)
                costs = {kind: unit_cost_s(BY_TYPE[kind], chunk) for kind, chunk in chunks.items()}
                in_turn = "" if program else await turns.start()
                await fleet.start(folder, group)
                told: Sequence[str] = shadowed.SETTINGS
                socket = folder
                if program:
                    redis, socket = await start_redis(program, folder)
                    servers.append(redis)
                    group.create_task(redis.watch())
                    told = settings(socket)
                server, address = await start_server(folder, *told)
                servers.append(server)
                group.create_task(server.watch())
                await fleet.connect(address, in_turn, share_of_core())
                async with AsyncSchedulerClient(address) as client:
                    stage = Stage(
                        options=options, screen=screen, client=client, view=ServerView(client), fleet=fleet,
                        chunks=chunks, costs=costs,
                    )  # fmt: skip
                    await (play_over_redis(stage, socket) if program else play_against_turns(stage, turns))
                await fleet.stop(STOP_S)
                for child in reversed(servers):
                    if code := await child.stop(STOP_S):
                        raise DemoFailed(f"the {child.name} ended with code {code}: {child.why()}")
                screen.say("every process has ended")
        finally:
            await _end(fleet.kill(), servers, turns)


async def _end(killed: Awaitable[None], servers: Sequence[Child], turns: RoundRobin) -> None:
    await killed
    for child in reversed(servers):
        await child.stop(ABORT_S)
    await turns.stop()
