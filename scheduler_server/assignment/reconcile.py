"""The ledger against what workers say: running lists, verdicts, and what a snapshot remembers of a worker."""

from collections.abc import Callable, Iterable
from math import isfinite, nan
from typing import Any

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
) -> tuple[tuple[Verdict, ...], int, list[TaskRecord]]:
    """Compare a running list with the ledger.

    Returns what to tell the worker about leases that are not its own, how many of the list are, and the leases that
    have been missing from its lists for longer than the grace. A lease that is listed is renewed.
    """
    monotonic = now.monotonic
    leases = record.leases
    known = 0
    verdicts: list[Verdict] = []
    for entry in listed:
        lease = leases.get(entry.lease_id)
        if lease is None:
            verdicts.append((entry.lease_id, _verdict(entry.lease_id, ledger)))
            continue
        known += 1
        lease.missing_since = 0.0
        lease.unsure = False
        lease.offered_on = record.session
        lease.expires_at = max(lease.expires_at, monotonic + settings.lost_track_after_s)
        if entry.elapsed_ms is not None and not lease.started_at:
            started(now, lease, entry.elapsed_ms)
        elif lease.state is TaskState.OFFERED:
            acknowledged(lease)  # a worker lists only what it has
    missing: list[TaskRecord] = []
    if known < len(leases):
        ids = {entry.lease_id for entry in listed}
        for lease_id, lease in leases.items():
            if lease_id in ids or lease.state is TaskState.OFFERED or lease.unsure:  # they have their own deadlines
                continue
            if not lease.missing_since:
                lease.missing_since = monotonic
            elif monotonic - lease.missing_since > settings.reconcile_grace_s:
                missing.append(lease)
    return tuple(verdicts), known, missing


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


def _verdict(lease_id: str, ledger: Ledger) -> VerdictKind:
    lease = ledger.leases.get(lease_id)
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
