"""The ledger against what workers say: running lists, verdicts, and what a snapshot remembers of a worker."""

from collections.abc import Callable, Iterable
from math import isfinite, nan
from typing import Any

from scheduler_server.assignment.lateness import Lateness, Others
from scheduler_server.assignment.ledger import Ledger, TaskRecord
from scheduler_server.model.clock import Now
from scheduler_server.model.refusal import Reason, Refusal
from scheduler_server.model.task import Delivery, TaskState
from scheduler_server.model.worker import RunningLease, VerdictKind
from scheduler_server.registry.record import WorkerRecord
from scheduler_server.registry.settings import WorkerSettings
from scheduler_server.registry.speed import SPEEDS

Verdict = tuple[str, VerdictKind]
Started = Callable[[Now, TaskRecord, float], None]


def running(
    now: Now,
    record: WorkerRecord,
    ledger: Ledger,
    started: Started,
    acknowledged: Callable[[TaskRecord], None],
    listed: tuple[RunningLease, ...],
    settings: WorkerSettings,
    others: Others,
) -> tuple[tuple[Verdict, ...], int, list[TaskRecord]]:
    """Compare a running list with the ledger.

    Returns what to tell the worker about leases that are not its own, how many of the list are or were until they
    finished, and the leases that have been missing from its lists for longer than the grace. A lease that is listed is
    renewed. A list that may have been taken before a lease was granted does not miss it, where lists are known to be
    late.
    """
    monotonic = now.monotonic
    leases = record.leases
    known = finished = 0
    lag_s = 0.0
    late: Lateness | None = record.lateness
    if late is not None:
        late.look(monotonic, settings.reconcile_grace_s)
        lag_s = late.lag_s(monotonic, settings.lost_track_after_s)
    verdicts: list[Verdict] = []
    for entry in listed:
        lease = leases.get(entry.lease_id)
        if lease is None:
            over = ledger.leases.get(entry.lease_id)
            verdicts.append((entry.lease_id, _verdict(over)))
            if over is not None and over.worker_id == record.worker_id:
                finished += over.state is TaskState.FINISHED
                late = _doubted(record, others)
                late.named(monotonic, over, settings.reconcile_grace_s)
            continue
        known += 1
        lease.missing_since = 0.0
        lease.unsure = False
        lease.offered_on = record.session
        lease.expires_at = max(lease.expires_at, monotonic + settings.lost_track_after_s)
        if late is not None:
            late.taken_at = max(late.taken_at, lease.granted_at)
        if entry.elapsed_ms is not None and not lease.started_at:
            started(now, lease, entry.elapsed_ms + lag_s * 1_000.0)
        elif lease.state is TaskState.OFFERED:
            acknowledged(lease)  # a worker lists only what it has
    missing: list[TaskRecord] = []
    if known < len(leases):
        missing = _missing(monotonic, record, {entry.lease_id for entry in listed}, settings, others)
    elif late is not None and late.complete():
        record.lateness = None
    return tuple(verdicts), known + finished, missing


def _missing(
    now: float, record: WorkerRecord, listed: set[str], settings: WorkerSettings, others: Others
) -> list[TaskRecord]:
    """The leases that have been missing from its lists for longer than the grace, this one included."""
    late = _doubted(record, others)
    lag_s = late.lag_s(now, settings.lost_track_after_s)
    missing: list[TaskRecord] = []
    unseen: list[TaskRecord] = []
    for lease_id, lease in record.leases.items():
        if lease_id in listed or lease.state is TaskState.OFFERED or lease.unsure:  # they have their own deadlines
            continue
        heard_of = lease.state is not TaskState.PLACED  # then every later list is younger than it
        if not heard_of:
            unseen.append(lease)
        if lag_s and not heard_of and lease.granted_at > late.taken_at:
            lease.missing_since = 0.0  # this list may have been taken before
        elif not lease.missing_since:
            lease.missing_since = now
        elif now - lease.missing_since > settings.reconcile_grace_s:
            missing.append(lease)
    late.watch(now, unseen, 0)
    for lease in missing:
        late.gave_up(lease)
    return missing


def usual_load(now: float, record: WorkerRecord, load: float, settings: WorkerSettings) -> float:
    """The load to go by of a worker whose samples are in doubt; `load` is what the last one says."""
    late: Lateness = record.lateness
    load, record.occupied_at_sample = late.usual(
        now, load, record.occupied, record.occupied_at_sample, settings.lost_track_after_s
    )
    return load


def _doubted(record: WorkerRecord, others: Others) -> Lateness:
    if record.lateness is None:
        record.lateness = Lateness(record.worker_id, others)
    late: Lateness = record.lateness
    return late


def surplus(
    now: float, record: WorkerRecord, queue_depth: int, settings: WorkerSettings, others: Others
) -> tuple[list[TaskRecord], int]:
    """Leases that a count which has fewer might have had, oldest first, and how many of them it did not have.

    The count of a worker that lists nothing, below the number of its leases.
    """
    late = _doubted(record, others)
    late.look(now, settings.reconcile_grace_s)
    leases: Iterable[TaskRecord] = record.leases.values()
    late.watch(now, leases, queue_depth)
    oldest: TaskRecord | None = next(iter(leases), None)
    if oldest is None or now < oldest.granted_at + settings.lost_track_after_s:
        return [], 0  # none expires earlier, and none of the others was granted before it
    lag_s = late.lag_s(now, settings.lost_track_after_s)
    granted_by = now - min(settings.hand_over_s, settings.lost_track_after_s) - late.patience_s(lag_s)
    counted = [lease for lease in leases if lease.granted_at <= granted_by]
    return counted, len(counted) - queue_depth


def settled(record: WorkerRecord, listed: tuple[RunningLease, ...]) -> list[tuple[TaskRecord, bool]]:
    """What an earlier session was handed, and this one, which has told all that it had to tell, does not list.

    With each lease whether its process is still the one that was handed it: then it never took it. Otherwise that
    process is gone, and the lease with it.
    """
    ids = {entry.lease_id for entry in listed}
    boot = record.epoch.boot_id
    leases: Iterable[TaskRecord] = record.leases.values()
    gone = [
        lease
        for lease in leases
        if lease.delivery is Delivery.STREAM and lease.offered_on != record.session and lease.lease_id not in ids
    ]
    found = [(lease, bool(boot) and lease.boot_id == boot) for lease in gone]
    # The same process has it no more and it had begun: that is no matter of hand-over, and has a grace.
    return [(lease, same) for lease, same in found if not (same and lease.started_at)]


def _verdict(lease: TaskRecord | None) -> VerdictKind:
    if lease is None:
        return VerdictKind.UNKNOWN
    # Finished: its outcome came by another way, and the worker is about to drop it. Otherwise it was cancelled or
    # lost, or belongs to somebody else: stop.
    return VerdictKind.KEEP if lease.state is TaskState.FINISHED else VerdictKind.STOP


def unknown(lease_id: str, record: WorkerRecord, ledger: Ledger) -> Refusal:
    """Why a report about a lease that this worker does not hold changes nothing."""
    about = (("lease_id", lease_id), ("worker_id", record.worker_id))
    lease = ledger.leases.get(lease_id)
    if lease is None:
        return Refusal(Reason.LEASE_UNKNOWN, f"lease {lease_id!r} is not known, or no longer kept", about)
    if lease.worker_id != record.worker_id:
        return Refusal(
            Reason.LEASE_OF_ANOTHER_WORKER, f"lease {lease_id!r} is not of worker {record.worker_id!r}", about
        )
    return Refusal(Reason.LEASE_ENDED, f"lease {lease_id!r} has ended: {lease.state.name.lower()}", about)


def memory(record: WorkerRecord) -> dict[str, Any]:
    """What of a worker is worth keeping across a restart of the server: what it did, not how it is."""
    return {
        "worker_id": record.worker_id,
        "completed": record.completed,
        "failed": record.failed,
        "average_ms": record.average,
        "log_speed": record.log_speed,
        "speed_samples": record.speed_samples,
        "speed_group": record.speed_group,
    }


_NUMBERS = ("completed", "failed", "average_ms", "log_speed", "speed_samples")


def remember(record: WorkerRecord, kept: dict[str, Any]) -> None:
    """Give a worker that came back what was known of it; ValueError where that makes no sense."""
    numbers = [kept.get(name, nan) for name in _NUMBERS]
    group = kept.get("speed_group")
    if (
        not all(isinstance(number, (int, float)) and isfinite(number) for number in numbers)
        or any(number < 0 for name, number in zip(_NUMBERS, numbers, strict=True) if name != "log_speed")
        or not isinstance(group, int)
        or group not in SPEEDS
    ):
        raise ValueError(f"not a worker record: {kept!r}")
    record.completed = int(kept["completed"])
    record.failed = int(kept["failed"])
    record.average = float(kept["average_ms"])
    record.log_speed = float(kept["log_speed"])
    record.speed_samples = int(kept["speed_samples"])
    record.speed_group = group
    record.speed = SPEEDS[group]
