"""How many of its slots may a worker use now? All, unless something holds it to fewer for a while.

`WorkerRecord.slots` are those that may be used: what is free, waits and loads go by them. `full_slots` are what the
worker has. Limits are kept by what set them, and the least holds; nobody is held to less than one slot, since a worker
without any is barred instead. A worker that is held back stages nothing: it would start it at once.
"""

from scheduler_server.registry.fleet import Fleet
from scheduler_server.registry.record import WorkerRecord


def limit(fleet: Fleet, record: WorkerRecord, why: str, slots: int | None) -> None:
    """Hold a worker to so many slots, for this reason; None: no longer."""
    limits = record.slot_limits
    if slots is None:
        limits = {name: most for name, most in limits.items() if name != why} if why in limits else limits
    elif limits.get(why) != slots:
        limits = {**limits, why: slots}
    if limits is record.slot_limits:
        return
    record.slot_limits = limits
    fit(fleet, record)
    fleet.refresh(record)


def fit(fleet: Fleet, record: WorkerRecord) -> None:
    """Make the slots that may be used follow from what there are and the limits; `refresh` it afterwards."""
    full = record.full_slots
    slots = max(1, min(full, *record.slot_limits.values())) if record.slot_limits else full
    record.prefetch = record.full_prefetch if slots == full else 0
    if slots != record.slots:
        fleet.resize(record, slots)
