"""Workers as rows, and questions about them: shared by `workers` and `top`."""

import argparse
from typing import Any

from scheduler_api.v1 import admin_service_pb2 as api
from scheduler_api.v1 import decision_pb2
from scheduler_server.schedctl import figures, options
from scheduler_server.schedctl.figures import seconds_of
from scheduler_server.schedctl.table import Column, Segment

HEALTH = {
    api.WORKER_HEALTH_HEALTHY: "good",
    api.WORKER_HEALTH_DEGRADED: "warn",
    api.WORKER_HEALTH_UNHEALTHY: "bad",
}

SORTS = {
    "id": "worker_id",
    "load": "effective_load desc",
    "free": "free_slots desc",
    "running": "running_leases desc",
    "queue": "queue_depth desc",
    "completed": "completed desc",
    "failed": "failed desc",
    "success": "success_rate",
    "duration": "average_duration desc",
    "speed": "speed desc",
    "heartbeat": "heartbeat_age desc",
    "new": "registered_at desc",
    "available": "estimated_available_at",
}
"""What one types, and what the server sorts by: what needs a look comes first."""


def order_by(sort: str, *, backwards: bool) -> str:
    """The server's words for a sort."""
    asked = SORTS[sort]
    if not backwards:
        return asked
    return asked.removesuffix(" desc") if asked.endswith(" desc") else f"{asked} desc"


def add_filters(parser: argparse.ArgumentParser) -> None:
    """Options that choose workers."""
    group = parser.add_argument_group("which workers")
    health = options.OneOf(api.WorkerHealth)
    group.add_argument(
        "--capability", action="append", default=[], metavar="NAME", help="that have this; again: all of them"
    )
    group.add_argument(
        "--health",
        action="append",
        default=[],
        type=health,
        metavar="STATE",
        help=f"in this state; again: any of them ({', '.join(figures.names(api.WorkerHealth))})",
    )
    group.add_argument("--free", type=options.whole(0, 10_000), metavar="N", help="with at least so many free slots")
    group.add_argument(
        "--label",
        action="append",
        default=[],
        type=options.label,
        metavar="KEY=VALUE",
        help="with this label; again: all of them",
    )
    group.add_argument("--type", dest="worker_type", default="", metavar="TYPE", help="of this kind")
    group.add_argument("--match", default="", metavar="TEXT", help="whose id contains this, in upper or lower case")
    group.add_argument(
        "--out",
        dest="rejection",
        default=0,
        type=options.OneOf(decision_pb2.RejectionReason),
        metavar="REASON",
        help="kept out for this reason, such as unhealthy or no_free_slot",
    )
    either = group.add_mutually_exclusive_group()
    either.add_argument("--connected", action="store_true", default=None, help="with a stream now")
    either.add_argument("--disconnected", dest="connected", action="store_false", help="without one")


def request(given: argparse.Namespace) -> api.ListWorkersRequest:
    """What `add_filters` was told."""
    made = api.ListWorkersRequest(
        capabilities=given.capability,
        health=given.health,
        match_labels=dict(given.label),
        worker_type=given.worker_type,
        id_contains=given.match,
        rejection=given.rejection,
    )
    if given.free is not None:
        made.min_free_slots = given.free
    if given.connected is not None:
        made.connected = given.connected
    return made


def health(worker: api.Worker) -> Segment:
    """Its health, or what matters more."""
    said = figures.word(api.WorkerHealth, worker.health) or "unknown"
    states = (
        ("cordoned", worker.cordoned),
        ("draining", worker.draining),
        ("ejected", worker.HasField("ejected_until")),
        ("on trial", worker.on_trial),
        ("failing", bool(worker.spared_detail)),
    )
    marks = [mark for mark, on in states if on]
    return " ".join([said, *marks]), HEALTH.get(worker.health, "dim") if not marks else "warn"


def slots(worker: api.Worker) -> str:
    """Taken of all; estimated ones with a tilde. Of those that may be used, where that is fewer for a while."""
    usable = worker.max_concurrent_tasks
    if worker.on_trial:
        usable = 1
    elif worker.HasField("ramp"):
        usable = max(1, round(worker.ramp * usable))
    taken = usable - worker.free_slots
    return f"{'~' if worker.accounting == api.WORKER_ACCOUNTING_SAMPLED else ''}{taken}/{usable}"


def rejection(worker: api.Worker) -> str:
    """Why it would get nothing now."""
    return figures.word(decision_pb2.RejectionReason, worker.rejection) or figures.ABSENT


def _heartbeat(worker: api.Worker) -> str:
    return figures.span_in(worker, "heartbeat_age")


def _duration(worker: api.Worker) -> str:
    return figures.span_in(worker, "average_duration")


def columns() -> list[Column[Any]]:
    """The table of workers."""
    return [
        Column(title="WORKER", cell=lambda worker: worker.worker_id, cuts=True),
        Column(title="HEALTH", cell=health),
        Column(title="LOAD", cell=lambda worker: f"{worker.effective_load:.2f}", right=True),
        Column(title="SLOTS", cell=slots, right=True),
        Column(title="FREE", cell=lambda worker: str(worker.free_slots), right=True),
        Column(title="QUEUE", cell=lambda worker: str(worker.queue_depth), right=True, spare=6),
        Column(title="DONE", cell=lambda worker: figures.count(worker.completed), right=True, spare=3),
        Column(title="OK", cell=lambda worker: figures.share_in(worker, "success_rate"), right=True, spare=2),
        Column(title="MEAN", cell=_duration, right=True, spare=5),
        Column(title="SPEED", cell=lambda worker: figures.number_in(worker, "speed"), right=True, spare=4),
        Column(title="BEAT", cell=_heartbeat, right=True, spare=1),
        Column(title="KEPT OUT", cell=rejection, spare=1),
        Column(title="NODE", cell=lambda worker: worker.node or figures.ABSENT, cuts=True, spare=9),
        Column(
            title="CAPABILITIES",
            cell=lambda worker: ",".join(worker.capabilities) or figures.ABSENT,
            cuts=True,
            spare=8,
        ),
        Column(title="CPU", cell=lambda worker: f"{worker.cpu_usage:.2f}", right=True, wide=True),
        Column(title="MEMORY", cell=lambda worker: f"{worker.memory_usage:.2f}", right=True, wide=True),
        Column(title="TYPE", cell=lambda worker: worker.worker_type or figures.ABSENT, wide=True),
        Column(title="STAGED", cell=lambda worker: str(worker.staged), right=True, wide=True),
        Column(title="LABELS", cell=labels, wide=True),
        Column(title="SOFTWARE", cell=lambda worker: worker.software or figures.ABSENT, wide=True),
    ]


def labels(worker: api.Worker) -> str:
    """Its labels in a line."""
    return ",".join(f"{key}={value}" for key, value in sorted(worker.labels.items())) or figures.ABSENT


def lease_columns(now: float) -> list[Column[Any]]:
    """The table of a worker's leases. `now`: the server's, in seconds since 1970."""
    from scheduler_api.v1 import task_pb2  # noqa: PLC0415 -- beside its only use

    def ends(lease: api.WorkerLease) -> str:
        if not lease.HasField("predicted_end"):
            return figures.ABSENT
        return figures.distance(seconds_of(lease.predicted_end) - now)

    def state(lease: api.WorkerLease) -> str:
        return "lost track" if lease.lost_track else figures.word(task_pb2.TaskState, lease.state)

    return [
        Column(title="TASK", cell=lambda lease: task_name(lease.task), cuts=True),
        Column(title="TYPE", cell=lambda lease: lease.task_type, cuts=True),
        Column(title="STATE", cell=state),
        Column(title="RUNNING", cell=lambda lease: figures.span_in(lease, "elapsed"), right=True),
        Column(title="ENDS", cell=ends, right=True, spare=1),
        Column(title="SLOTS", cell=lambda lease: str(lease.slots), right=True, spare=3),
        Column(title="LEASE", cell=lambda lease: lease.lease_id, spare=2),
        Column(title="DECISION", cell=lambda lease: lease.decision_id, wide=True),
    ]


def task_name(key: Any) -> str:
    """A task's name in a line: tenant/id, and its attempt after the first."""
    said = f"{key.tenant}/{key.task_id}" if key.tenant else key.task_id
    return f"{said} #{key.attempt}" if key.attempt > 1 else said
