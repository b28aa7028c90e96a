"""What is known of one worker, as operators see it. Messages are `Any`: our enums have the numbers of theirs."""

from math import inf
from typing import Any

from scheduler_server.assignment.ledger import TaskRecord
from scheduler_server.model.clock import Now
from scheduler_server.model.decision import Rejection
from scheduler_server.model.worker import Accounting
from scheduler_server.predictor.remaining import Remaining
from scheduler_server.registry.record import WorkerRecord
from scheduler_server.rpc import encode

_HELP = {
    Rejection.UNHEALTHY: "its heartbeats have stopped; see whether its process hangs",
    Rejection.DISCONNECTED: "its stream is lost; it is a candidate again once it reconnects",
    Rejection.NO_FREE_SLOT: "all its slots are taken; the next outcome, or a sample with a smaller queue, frees one",
    Rejection.CORDONED: "an operator keeps tasks off it; uncordon it",
    Rejection.DRAINING: "it drains, by drain_ids; it takes tasks again when those are cancelled, or its own wish ends",
    Rejection.OFF_SHIFT: "its shift is over; next_shift_change says when it comes, and an operator can set other hours",
    Rejection.EJECTED: "its tasks failed out of line; it is tried at ejected_until, or ReinstateWorker lets it in now",
    Rejection.NOT_RECEIVING: "it beats, and sends no probe back: what is sent to it does not arrive, or it hangs",
    Rejection.OUTBOUND_FULL: "it has not acknowledged the tasks that it was handed; it takes more once it has",
    Rejection.HEALTH_SCORE: "its last heartbeat is too old for the scorer in force; the next one lets it in again",
}


def effective_load(record: WorkerRecord) -> float:
    """The last sample plus a share per lease granted since; what scoring uses while the worker has a free slot."""
    more = record.occupied - record.occupied_at_sample
    return min(1.0, record.load + more / record.slots) if more > 0 else min(1.0, record.load)


def fill(message: Any, record: WorkerRecord, now: Now, wait_s: float, outbound: int) -> None:
    """Fill a Worker, without its leases. `wait_s` is how long a task would wait on it, infinity while it takes none."""
    registration = record.registration
    message.worker_id = record.worker_id
    message.node = registration.node
    message.software = registration.software
    message.worker_type = registration.worker_type
    message.capabilities.extend(registration.capabilities)
    message.specializations.extend(sorted(record.specializations))
    message.labels.update(registration.labels)
    message.max_concurrent_tasks = record.full_slots
    message.health = record.health.value
    message.connected = record.connected
    message.cordoned = record.cordoned
    message.draining = record.draining
    message.accounting = record.accounting.value
    message.intent = record.intent.value
    encode.set_instant(message.last_heartbeat, record.last_seen_wall)
    encode.set_span(message.heartbeat_age, max(0.0, now.monotonic - record.last_seen))
    message.cpu_usage = record.cpu
    message.memory_usage = record.memory
    message.load = record.load
    message.effective_load = effective_load(record)
    message.queue_depth = record.queue_depth
    leases = len(record.leases)
    message.running_leases = leases
    tracked = record.accounting is Accounting.TRACKED
    message.background = record.background if tracked else max(0, record.queue_depth - leases)
    message.free_slots = max(0, record.free) if record.full_prefetch else record.free
    if wait_s != inf:
        encode.set_instant(message.estimated_available_at, now.wall + wait_s)
    message.completed = record.completed
    message.failed = record.failed
    if record.completed or record.failed:
        message.success_rate = record.success_rate
    if record.average:
        encode.set_span(message.average_duration, record.average / 1_000.0)
    if record.speed_samples:
        message.speed = record.speed
    encode.set_instant(message.registered_at, record.registered_at)
    message.epoch.boot_id = record.epoch.boot_id
    message.epoch.connection = record.epoch.connection
    if record.status is not Rejection.CANDIDATE:
        message.rejection = record.status.value
        message.rejection_detail = _HELP.get(record.status, record.status.name.lower())
    message.health_score = record.health_score
    _fill_stream(message, record, outbound)


def _fill_stream(message: Any, record: WorkerRecord, outbound: int) -> None:
    """What goes over its stream, and how well."""
    message.heartbeats = record.heartbeats
    message.dropped_heartbeats = record.dropped
    message.accepts_tasks = record.registration.accepts_tasks
    message.prefetch = record.prefetch
    message.staged = max(0, len(record.leases) - record.slots) if record.prefetch else 0
    message.ledger_repairs = record.repairs
    if record.probed_wall:
        encode.set_instant(message.last_probe_at, record.probed_wall)
    message.outbound_queue = outbound


def fill_lease(message: Any, record: TaskRecord, now: Now, rest: Remaining) -> None:
    """Fill a WorkerLease; `rest` is how much longer it is taken to run."""
    decision = record.decision
    message.lease_id = record.lease_id
    encode.task_key(message.task, record.task.key)
    message.task_type = record.task.task_type
    message.state = record.state.value
    encode.set_instant(message.granted_at, record.placed_wall)
    elapsed_s = max(0.0, now.monotonic - (record.started_at or record.granted_at))
    encode.set_span(message.elapsed, elapsed_s)
    if decision.prediction is not None:
        encode.set_instant(message.predicted_end, now.wall + rest.p50_ms / 1_000.0)
    if record.started_wall:
        encode.set_instant(message.started_at, record.started_wall)
    message.slots = record.task.slots
    message.decision_id = decision.decision_id
