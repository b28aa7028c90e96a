"""What survives a restart, record by record.

Learned things (predictions, what workers did, the breaker) go into snapshots, as small records of JSON types: losing
the last minute of them costs accuracy, nothing else. Promises (leases) go into the journal, one entry each, when they
are made. Neither knows how the other, or the store, works.
"""

from collections.abc import Iterable, Iterator
from math import inf, isfinite
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from scheduler_server.assignment import reconcile
from scheduler_server.assignment.events import Submit
from scheduler_server.assignment.ledger import TaskRecord
from scheduler_server.assignment.trail import NO_TRAIL, Trail
from scheduler_server.assignment.waiting import Waiter
from scheduler_server.model.clock import Now
from scheduler_server.model.decision import Decision
from scheduler_server.model.task import Delivery, Task, TaskState
from scheduler_server.model.worker import Registration
from scheduler_server.registry.record import WorkerRecord

if TYPE_CHECKING:
    from scheduler_server.assignment.core import Scheduler


def records(core: "Scheduler", now: Now) -> Iterator[dict[str, Any]]:
    """Everything a snapshot holds."""
    for learned in core.predictor.state():
        yield {"part": "predictor", "strategy": core.predictor.name, **learned}
    for name, predictor in core.predictors.others():
        for learned in predictor.state():
            yield {"part": "predictor", "strategy": name, **learned}
    for judged in core.accuracy.state():
        yield {"part": "accuracy", **judged}
    for circuit in core.breaker.state(now.monotonic):
        yield {"part": "breaker", **circuit}
    for learned in core.queue.expected.state():
        yield {"part": "expected_start", **learned}
    for worker_id in list(core.fleet.records):
        record = core.fleet.records.get(worker_id)
        if record is not None and (record.completed or record.failed):
            yield {"part": "worker", **reconcile.memory(record)}
    seen = {pool.profile.capabilities for pool in core.fleet.pools if pool.members}
    # What has not come back since the last restart is remembered for as long as a silent worker is.
    if now.monotonic - core.started.monotonic <= core.settings.health.remove_after_s:
        for kept in list(core.link.memories.values()):
            yield {"part": "worker", **kept}
        seen |= core.placement.remembered
    for capabilities in sorted(seen, key=sorted):
        yield {"part": "capabilities", "all": sorted(capabilities)}


def restore(core: "Scheduler", now: Now, kept: Iterable[dict[str, Any]]) -> list[str]:
    """Take records back; each that makes no sense is told and left out."""
    faults: list[str] = []
    for record in kept:
        part = record.get("part")
        try:
            if part == "predictor":
                _restore_learned(core, record)
            elif part == "accuracy":
                core.accuracy.restore(record)
            elif part == "breaker":
                core.breaker.restore(record, now.monotonic)
            elif part == "expected_start":
                core.queue.expected.restore(record)
            elif part == "worker":
                reconcile.remember(WorkerRecord("", Registration(), 1), record)  # to check it now, not on its return
                core.link.memories[str(record["worker_id"])] = {
                    name: value for name, value in record.items() if name != "part"
                }
            elif part == "capabilities":
                core.placement.remembered.add(frozenset(map(str, record["all"])))
                core.placement.remembered_until = now.monotonic + core.settings.health.remove_after_s
            else:
                faults.append(f"a part {part!r} that this version does not know")
        except (ValueError, KeyError, TypeError, OverflowError) as error:  # an integer beyond a float overflows
            faults.append(str(error))
    return faults


def _restore_learned(core: "Scheduler", record: dict[str, Any]) -> None:
    """Give a record back to whom it is of: the predictor in force, or one that was in force before."""
    name = str(record.get("strategy"))
    kept = core.predictor if name == core.predictor.name else core.predictors.kept(name, core.settings.predictor)
    if kept is not None:
        kept.restore(record)


class _KeptLease(NamedTuple):
    """A lease as the journal has it. What an older version did not write has a default, and stands at the end."""

    task: Task
    decision: Decision
    delivery: Delivery
    boot_id: str = ""
    trail: Trail = NO_TRAIL
    submitted_wall: float = 0.0


_DECODE = msgspec.msgpack.Decoder(_KeptLease)
_ENCODE = msgspec.msgpack.Encoder()


def lease_to_bytes(record: TaskRecord) -> bytes:
    """A lease as the journal keeps it. MessagePack by msgspec: 0.9 us, where json takes 12."""
    decision = record.decision
    if decision.explanation is not None:
        decision = decision._replace(explanation=None)
    return _ENCODE.encode((record.task, decision, record.delivery, record.boot_id, record.trail, record.submitted_wall))


def restore_lease(core: "Scheduler", now: Now, kept: bytes) -> None:
    """Take a lease back; it waits for its worker among the orphans. ValueError where it makes no sense."""
    try:
        task, decision, delivery, boot_id, trail, submitted_wall = _DECODE.decode(kept)
    except msgspec.MsgspecError as error:
        raise ValueError(f"not a lease: {error}") from error
    age_s = max(0.0, now.wall - decision.decided_at)
    expires_at = now.monotonic + core.settings.worker.lost_track_after_s
    record = TaskRecord(task, decision, None, delivery, now.monotonic - age_s, expires_at)
    # An offer whose ack had not come may have been taken all the same: its worker's list will tell.
    record.state = TaskState.PLACED if delivery is Delivery.CALLER else TaskState.ACKNOWLEDGED
    record.unsure = delivery is Delivery.STREAM
    record.boot_id, record.trail = boot_id, trail
    if 0.0 < submitted_wall < record.placed_wall:
        record.submitted_wall = submitted_wall
    older = core.ledger.tasks.get((task.tenant, task.task_id))
    core.ledger.add(record, older)
    core.departures.spare_until(core.started.monotonic + core.settings.health.restart_grace_s)
    core.ledger.orphans.setdefault(record.worker_id, []).append(record)


class _KeptWaiting(NamedTuple):
    """A task that waits, likewise."""

    task: Task
    delivery: Delivery
    explain: bool
    since_wall: float
    sequence: int
    p50_s: float
    work_s: float
    trail: Trail = NO_TRAIL
    allowance_s: float = 0.0


_DECODE_WAITING = msgspec.msgpack.Decoder(_KeptWaiting)


def waiting_to_bytes(waiter: Waiter) -> bytes:
    """A task that waits, as the journal keeps it, with all that its place in the order rests on."""
    event = waiter.event
    place = (waiter.since_wall, waiter.sequence, waiter.p50_s, waiter.work_s)
    return _ENCODE.encode((event.task, event.delivery, event.explain, *place, event.trail, waiter.allowance_s))


def restore_waiting(core: "Scheduler", now: Now, kept: bytes) -> None:
    """Let a task wait again that waited before a restart, after the leases. ValueError where it makes no sense."""
    try:
        found = _DECODE_WAITING.decode(kept)
    except msgspec.MsgspecError as error:
        raise ValueError(f"not a waiting task: {error}") from error
    task, place = found.task, (found.p50_s, found.work_s, found.allowance_s)
    if not (isfinite(found.since_wall) and all(0.0 <= each < inf for each in place) and found.sequence >= 0):
        raise ValueError(f"not a waiting task: since {found.since_wall!r}, number {found.sequence}, seconds {place}")
    placed = core.ledger.tasks.get((task.tenant, task.task_id))
    if placed is not None and placed.task.attempt >= task.attempt:
        raise ValueError(f"task {task.task_id!r} of tenant {task.tenant!r} has been placed")
    event = Submit(task, found.delivery, found.explain, None, True, trail=found.trail)
    core.queue.take_back(now, event, found.since_wall, found.sequence, place)
