"""The demo, in order: start everything, measure the fleet, run the stream twice, tell what came of it, end it all."""

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from scheduler_server.client import AsyncSchedulerClient
from scheduler_server.demo import arrivals
from scheduler_server.demo.child import Child, DemoFailed
from scheduler_server.demo.fleet import FLEET, SLOTS, Fleet
from scheduler_server.demo.pace import share_of_core
from scheduler_server.demo.queue_client import QueueClient
from scheduler_server.demo.round_robin import RoundRobin
from scheduler_server.demo.scene import Scene
from scheduler_server.demo.screen import Screen
from scheduler_server.demo.server_process import start_server
from scheduler_server.demo.server_view import ServerView
from scheduler_server.demo.summary import summary
from scheduler_server.demo.taking_turns import TakingTurns
from scheduler_server.demo.tape import Tape
from scheduler_server.demo.waiting_view import WaitingView
from scheduler_server.demo.way_in import ByAssign
from scheduler_server.demo.work import BY_TYPE, digest, pack, unit_cost_s

PHASE = 0.33  # of --seconds: arrivals of each phase; the rest is starting, the tails, and ending
MOST_PER_S = 25  # of --tasks per second of --seconds: the mean task then still takes 0.2 s
TAIL_S = 30.0  # beyond three times the span, for the tasks that have come to end
MEASURED_S = 0.5  # what each worker does to measure itself, at speed 1
STOP_S = 10.0  # for workers to leave and the server to write its state
ABORT_S = 1.0  # the same when the demo is stopped: Ctrl-C must not take long
NOT_YET_KNOWN_S = 1.0  # where the server does not tell who is connected


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was asked for."""

    seed: int
    tasks: int
    seconds: float


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
        description="A server, six worker processes and a queue of real tasks; then the same tasks by round robin.",
    )
    parser.add_argument("--seed", type=int, default=1, help="same seed, same tasks and arrivals (default %(default)s)")
    parser.add_argument("--tasks", type=int, default=300, help="tasks in each phase, 20 to 5000 (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=30, help="about how long, 4 to 600 (default %(default)s)")
    given = parser.parse_args(argv)
    if not 20 <= given.tasks <= 5_000:
        parser.error(f"--tasks: from 20 to 5000 (got {given.tasks})")
    if not 4 <= given.seconds <= 600:
        parser.error(f"--seconds: from 4 to 600 (got {given.seconds:g})")
    if given.tasks > MOST_PER_S * given.seconds:
        parser.error(f"--tasks: at most {MOST_PER_S} per second of --seconds, shorter tasks would only be overhead")
    return Options(seed=given.seed, tasks=given.tasks, seconds=given.seconds)


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
    screen = Screen(Console(highlight=False))
    turns, fleet = RoundRobin(FLEET), Fleet()  # type: ignore[abstract] # its other methods answer UNIMPLEMENTED
    server: Child | None = None
    with tempfile.TemporaryDirectory(prefix="scheduler-server-demo-") as name:
        folder = Path(name)
        try:
            async with asyncio.TaskGroup() as group:
                screen.say(f"scheduler-server demo: starting a server and {len(FLEET)} workers, {SLOTS} slots")
                chunks = arrivals.chunks(options.seed)
                costs = {kind: unit_cost_s(BY_TYPE[kind], chunk) for kind, chunk in chunks.items()}
                in_turn = await turns.start()
                await fleet.start(folder, group)
                server, address = await start_server(folder)
                group.create_task(server.watch())
                await fleet.connect(address, in_turn, share_of_core())
                async with AsyncSchedulerClient(address) as client:
                    await _play(options, screen, client, fleet, turns, chunks, costs)
                await fleet.stop(STOP_S)
                if code := await server.stop(STOP_S):
                    raise DemoFailed(f"the server ended with code {code}: {server.why()}")
                screen.say("every process has ended")
        finally:
            await _end(fleet.kill(), server, turns)


async def _play(
    options: Options,
    screen: Screen,
    client: AsyncSchedulerClient,
    fleet: Fleet,
    turns: RoundRobin,
    chunks: Mapping[str, bytes],
    costs: Mapping[str, float],
) -> None:
    view = ServerView(client)
    if not await view.until_connected(len(FLEET)):
        await asyncio.sleep(NOT_YET_KNOWN_S)
    unit_s = {name: cost / share_of_core() if BY_TYPE[name].unit else cost for name, cost in costs.items()}
    capacity = await _measure(fleet, chunks, unit_s)
    span_s = PHASE * options.seconds
    items = arrivals.plan(options.seed, options.tasks, span_s, capacity, unit_s)
    load = sum(item.nominal_s for item in items) / (capacity * span_s)
    screen.say(f"measured: the fleet does the work of {capacity:.1f} slots of speed 1")
    screen.say(f"twice {options.tasks} tasks, each time within {span_s:.1f} s: {load:.0%} load; seed {options.seed}")
    answers = {name: digest(BY_TYPE[name], chunk) for name, chunk in chunks.items()}
    scheduled, in_turn = Tape("scheduler", items, span_s), Tape("turn", items, span_s)
    queue = QueueClient(client, ByAssign(client), scheduled, chunks)
    ask = WaitingView(client, scheduled).ask
    scene = Scene(title="scheduler", tape=scheduled, rates=queue.rates, ask=ask)
    await _phase(screen, view, fleet, scene, queue, answers)
    accuracy = await view.accuracy()
    taking = TakingTurns(turns, in_turn, chunks)
    scene = Scene(title="round robin", tape=in_turn, rates=taking.rates, ask=None)
    await _phase(screen, view, fleet, scene, taking, answers)
    screen.say("\n" + summary(scheduled, in_turn, accuracy) + "\n")
    screen.say(f"{2 * options.tasks} tasks ran once each, every result was right; seed {options.seed}")


async def _measure(fleet: Fleet, chunks: Mapping[str, bytes], unit_s: Mapping[str, float]) -> float:
    """Seconds of work at speed 1 that the fleet does per second: CPU work as measured, waiting as it is told to."""
    busy = [name for name in chunks if BY_TYPE[name].unit is not None]
    units = {name: max(1, round(MEASURED_S / len(busy) / unit_s[name])) for name in busy}
    payloads = {name: pack(units[name], chunks[name]) for name in busy}
    measured = await fleet.measure(payloads, sum(units[name] * unit_s[name] for name in busy))
    waiting = arrivals.waiting_ratio()
    return sum(spec.slots / ((1 - waiting) / measured[spec.worker_id] + waiting / spec.speed) for spec in FLEET)


async def _phase(
    screen: Screen,
    view: ServerView,
    fleet: Fleet,
    scene: Scene,
    client: QueueClient | TakingTurns,
    answers: Mapping[str, bytes],
) -> None:
    """Run one phase with its picture.

    Raises:
        DemoFailed: a task did not end, ended badly, or ran twice.
    """
    tape = fleet.tape = scene.tape
    limit_s = 3 * tape.span_s + TAIL_S
    async with asyncio.TaskGroup() as group:
        pictures = [group.create_task(view.run()), group.create_task(screen.show(scene, view))]
        try:
            async with asyncio.timeout(limit_s):
                await client.run()
        except TimeoutError:
            left = [run.task_id for run in tape.runs.values() if run.ended is None]
            raise DemoFailed(f"{len(left)} tasks did not end within {limit_s:.0f} s, such as {left[0]}") from None
        for task in pictures:
            task.cancel()
    faults = await client.check(answers)
    if faults:
        raise DemoFailed(f"{scene.title}: {len(faults)} of {len(tape.runs)} tasks went wrong, such as {faults[0]}")
    twice = [run.task_id for run in tape.runs.values() if run.times_begun != 1]
    if twice:
        raise DemoFailed(f"{scene.title}: {len(twice)} tasks did not run exactly once, such as {twice[0]}")


async def _end(killed: Awaitable[None], server: Child | None, turns: RoundRobin) -> None:
    await killed
    if server is not None:
        await server.stop(ABORT_S)
    await turns.stop()
