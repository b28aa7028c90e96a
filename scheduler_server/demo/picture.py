"""The live picture: the workers, the tasks that wait and when the server expects them to start, and what came of it.

It fits a terminal of 80 columns and 24 lines, and keeps its height, so that nothing jumps.
"""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from scheduler_api.v1.admin_service_pb2 import BreakerState, GetStatusResponse, WorkerHealth
from scheduler_server.demo.fleet import FLEET, Spec
from scheduler_server.demo.scene import Counts, Scene, count
from scheduler_server.demo.server_view import ServerView
from scheduler_server.demo.task_tables import columns, ended, line, queued, waiting_in_server


def picture(scene: Scene, view: ServerView, now: float) -> Group:
    """All of it."""
    counts = count(scene.tape, now)
    running = f"tasks: {counts.running_on.total()} running"
    parts: list[RenderableType] = [_head(scene, counts, now), _fleet(view, counts)]
    if scene.ask is not None:
        parts += [
            line(_decisions(scene, now) + _server(view.status)),
            line(f"{running}, {counts.waiting} waiting in the server; half start by P50, 9 of 10 by P90"),
            line(scene.news()),
            *waiting_in_server(scene.tape, now),
        ]
    else:
        parts += [
            line(_decisions(scene, now)),
            line(f"{running}, {counts.waiting} waiting on workers, and nobody says when they should start"),
            Text(""),
            *queued(scene.tape, now),
        ]
    return Group(*parts, Text(""), ended(scene))


def _head(scene: Scene, counts: Counts, now: float) -> Text:
    return Text.assemble(
        ("scheduler-server demo  ", "bold"),
        (scene.title, "bold cyan"),
        f"  {now - scene.tape.started:.1f} s  {counts.done} of {len(scene.tape.runs)} done",
    )


def _decisions(scene: Scene, now: float) -> str:
    rates = "  ".join(f"{who} {rate:.1f}/s" for who, rate in sorted(scene.rates(now).items())) or "none"
    return f"decisions: {rates}"


def _server(status: GetStatusResponse | None) -> str:
    if status is None:
        return ""
    decided = sum(each.count for each in status.decisions)
    breaker = BreakerState.Name(status.breaker.state).removeprefix("BREAKER_STATE_").lower()
    return f"; {decided} by {status.policy.predictor} and {status.policy.scorer}, breaker {breaker}"


def _fleet(view: ServerView, counts: Counts) -> Table:
    numbers = dict.fromkeys(("free", "queued", "done", "speed", "learnt"), 6)
    table = columns({"worker": -8, "health": -9, "load": 4, "slots used": -10} | numbers)
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
        state = WorkerHealth.Name(worker.health).removeprefix("WORKER_HEALTH_").lower()
        health = Text(state, style={"healthy": "green", "degraded": "yellow"}.get(state, "red"))
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
