"""What one sees while it runs: a live table on a terminal, otherwise a plain line every two seconds."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from scheduler_api.v1.admin_service_pb2 import BreakerState, GetStatusResponse, WorkerHealth
from scheduler_server.demo.figures import hits
from scheduler_server.demo.fleet import FLEET, Spec
from scheduler_server.demo.server_view import ServerView
from scheduler_server.demo.tape import Run, Tape

LIVE_S = 0.25
PLAIN_S = 2.0
RECENT = 4  # ended tasks shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What there is to show of one phase. `rates` tells decisions per second by who decided."""

    title: str
    tape: Tape
    rates: Callable[[float], dict[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Tasks by where they are, in all and by worker."""

    sent: int
    unplaced: int
    done: int
    queued_on: Counter[str]
    running_on: Counter[str]
    done_on: Counter[str]


def count(tape: Tape, now: float) -> Counts:
    """Where the tasks of a tape are."""
    sent = [run for run in tape.runs.values() if run.due <= now]
    queued_on: Counter[str] = Counter()
    running_on: Counter[str] = Counter()
    done_on: Counter[str] = Counter()
    for run in sent:
        if run.ended is not None:
            done_on[run.worker_id] += 1
        elif run.began is not None:
            running_on[run.worker_id] += 1
        elif run.placed is not None:
            queued_on[run.worker_id] += 1
    done = done_on.total()
    return Counts(
        sent=len(sent),
        unplaced=len(sent) - done - running_on.total() - queued_on.total(),
        done=done,
        queued_on=queued_on,
        running_on=running_on,
        done_on=done_on,
    )


def plain_line(scene: Scene, now: float) -> str:
    """The state of things in a line; 80 columns while one source decides."""
    counts = count(scene.tape, now)
    rates = " ".join(f"{name} {rate:.0f}/s" for name, rate in sorted(scene.rates(now).items())) or "nobody 0/s"
    waiting = counts.unplaced + counts.queued_on.total()
    return (
        f"{scene.title:11} {now - scene.tape.started:5.1f} s {rates:14} sent {counts.sent:4}"
        f" waiting {waiting:3} running {counts.running_on.total():2} done {counts.done:4}"
    )


def picture(scene: Scene, view: ServerView, now: float) -> Group:
    """The live table."""
    counts = count(scene.tape, now)
    total = len(scene.tape.runs)
    head = Text.assemble(
        ("scheduler-server demo  ", "bold"),
        (scene.title, "bold cyan"),
        f"  {now - scene.tape.started:.1f} s  {counts.done} of {total} done",
    )
    rates = "  ".join(f"{name} {rate:.1f}/s" for name, rate in sorted(scene.rates(now).items())) or "none"
    decided = Text(f"decisions: {rates}")
    where = Text(
        f"tasks: {counts.unplaced} waiting for a slot, {counts.queued_on.total()} queued on workers,"
        f" {counts.running_on.total()} running"
    )
    parts: list[RenderableType] = [head, _fleet(view, counts), decided, where]
    if view.status is not None:
        parts.append(Text(_server(view.status), no_wrap=True, overflow="ellipsis"))
    if recent := _recent(scene.tape):
        near = hits(scene.tape.runs.values(), learned=True)
        title = "" if not near.count else f"; within 25 % so far: {near.near:.0%} of {near.count}"
        parts += [Text(f"predicted against actual{title}"), recent]
    return Group(*parts)


def _server(status: GetStatusResponse) -> str:
    decided = sum(each.count for each in status.decisions)
    breaker = BreakerState.Name(status.breaker.state).removeprefix("BREAKER_STATE_").lower()
    policy = f"{status.policy.predictor} and {status.policy.scorer}"
    return f"server: {decided} decisions by {policy}, {status.leases} leases, breaker {breaker}"


def _fleet(view: ServerView, counts: Counts) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("worker", no_wrap=True)
    for name in ("health", "load", "slots used", "free", "queued", "done", "speed", "learnt"):
        table.add_column(name, justify="left" if name in {"health", "slots used"} else "right", no_wrap=True)
    for spec in FLEET:
        table.add_row(*_row(spec, view, counts))
    return table


def _row(spec: Spec, view: ServerView, counts: Counts) -> tuple[str | Text, ...]:
    worker = None if view.workers is None else view.workers.get(spec.worker_id)
    used = counts.running_on[spec.worker_id]
    bar = "#" * min(used, spec.slots) + "." * max(0, spec.slots - used)
    health: str | Text = "-"
    load = learnt = "-"
    if worker is not None:
        name = WorkerHealth.Name(worker.health).removeprefix("WORKER_HEALTH_").lower()
        health = Text(name, style={"healthy": "green", "degraded": "yellow"}.get(name, "red"))
        load = f"{worker.effective_load:.2f}"
        learnt = f"{worker.speed:.2f}" if worker.HasField("speed") else "-"
    return (
        spec.worker_id,
        health,
        load,
        f"{bar} {used}/{spec.slots}",
        str(spec.slots - used),
        str(counts.queued_on[spec.worker_id]),
        str(counts.done_on[spec.worker_id]),
        f"{spec.speed:.2f}",
        learnt,
    )


def _recent(tape: Tape) -> Table | None:
    ended = sorted(
        (run for run in tape.runs.values() if run.ended is not None and run.placement is not None),
        key=lambda run: -(run.ended or 0.0),
    )
    if not ended:
        return None
    table = Table(box=None, pad_edge=False, show_header=False)
    for _ in range(5):
        table.add_column(no_wrap=True)
    for run in islice(ended, RECENT):
        table.add_row(*_compared(run))
    return table


def _compared(run: Run) -> tuple[str | Text, ...]:
    predicted = None if run.placement is None else run.placement.predicted_duration
    if predicted is None:
        return (run.item.kind.task_type, run.worker_id, "-", f"{run.took_s:.2f} s", "")
    error = predicted.total_seconds() / run.took_s - 1 if run.took_s else 0.0
    style = "green" if abs(error) <= 0.25 else "yellow" if abs(error) <= 1 else "red"
    return (
        run.item.kind.task_type,
        run.worker_id,
        f"predicted {predicted.total_seconds():.2f} s",
        f"took {run.took_s:.2f} s",
        Text(f"{error:+.0%}", style=style),
    )


class Screen:
    """Shows scenes until it is cancelled."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.live = console.is_terminal and not console.is_dumb_terminal

    def say(self, line: str) -> None:
        """One line of its own."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    async def show(self, scene: Scene, view: ServerView) -> None:
        """Show this scene from now on."""
        if not self.live:
            while True:
                await asyncio.sleep(PLAIN_S)
                self.say(plain_line(scene, time.monotonic()))
        with Live(console=self._console, auto_refresh=False, transient=True) as live:
            while True:
                live.update(picture(scene, view, time.monotonic()), refresh=True)
                await asyncio.sleep(LIVE_S)
