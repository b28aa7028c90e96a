"""Can an override do what it is meant to, and does it contradict another? Asked before it is made."""

from collections import Counter
from typing import NamedTuple

from scheduler_server.assignment.core import Scheduler
from scheduler_server.model.override import Action, Override
from scheduler_server.registry.record import WorkerRecord

_SHOWN = 3


class Judged(NamedTuple):
    """What is wrong with it, for people; empty where nothing is. `warnings` are what is only odd."""

    impossible: str
    conflict: str
    other: str  # id of the override that it contradicts
    warnings: tuple[str, ...]


def judge(core: Scheduler, override: Override) -> Judged:
    """Look at the fleet and the overrides in force as they are. Takes a look at every worker where labels are named."""
    if override.action is Action.PIN:
        return _pin(core, override)
    if override.action is Action.EXCLUDE:
        return _exclude(core, override)
    if override.action is Action.CAP:
        return Judged("", "", "", _cap(core, override))
    return Judged("", "", "", ())


def _pin(core: Scheduler, override: Override) -> Judged:
    named = core.overrides.workers_of(override)
    unknown = _unknown(core, override)
    warnings = _barred(named)
    for name, rule in core.overrides.in_force.items():
        other = rule.override
        if other.action is Action.PIN and other.scope == override.scope:
            return Judged(unknown, f"override {name!r} pins the same tasks: {other.effect}", name, warnings)
    if unknown:
        return Judged(unknown, "", "", warnings)
    if not named:
        message = f"nobody is left: no known worker has all of {_labels(override)}"
        return Judged("" if override.preferred else message, "", "", (*warnings, message) if override.preferred else ())
    kept_out = _kept_out(core, override, named)
    if kept_out is not None:
        message = f"override {kept_out!r} keeps all of them out"
        if override.preferred:
            return Judged("", "", "", (*warnings, message))
        return Judged("", message, kept_out, warnings)
    return Judged("", "", "", warnings)


def _exclude(core: Scheduler, override: Override) -> Judged:
    unknown = _unknown(core, override)
    if unknown:
        return Judged(unknown, "", "", ())
    named = {record.worker_id for record in core.overrides.workers_of(override)}
    if not named:
        return Judged("", "", "", (f"no known worker has all of {_labels(override)}",))
    fleet = core.fleet.records
    others: set[str] = set()
    for rule in core.overrides.in_force.values():
        if rule.override.action is Action.EXCLUDE and rule.override.includes(override):
            others.update(record.worker_id for record in core.overrides.workers_of(rule.override))
    if len(named | others) == len(fleet):
        also = " with the exclusions in force" if len(named) < len(fleet) else ""
        return Judged(f"nobody is left: that is every known worker ({len(fleet):,}){also}", "", "", ())
    for name, rule in core.overrides.in_force.items():
        pin = rule.override
        if pin.action is not Action.PIN or pin.preferred or not pin.meets(override):
            continue
        pinned = {record.worker_id for record in core.overrides.workers_of(pin)}
        if pinned and pinned <= named | others:
            return Judged("", f"override {name!r} pins such tasks: {pin.effect}; nobody would be left", name, ())
    return Judged("", "", "", ())


def _cap(core: Scheduler, override: Override) -> tuple[str, ...]:
    warnings = []
    if not override.most:
        warnings.append("a cap of 0 lets none of these tasks start")
    for name, rule in core.overrides.in_force.items():
        other = rule.override
        if other.action is Action.CAP and other.scope == override.scope:
            warnings.append(f"override {name!r} caps the same tasks: {other.effect}; the smaller one holds")
    return tuple(warnings)


def _unknown(core: Scheduler, override: Override) -> str:
    unknown = [worker_id for worker_id in override.workers if worker_id not in core.fleet.records]
    if not unknown:
        return ""
    shown = ", ".join(map(repr, unknown[:_SHOWN]))
    more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
    return f"worker {shown} is not known" if len(unknown) == 1 else f"workers {shown}{more} are not known"


def _kept_out(core: Scheduler, override: Override, named: list[WorkerRecord]) -> str | None:
    """The exclusion that, with others in force, leaves nobody of these."""
    left = {record.worker_id for record in named}
    for name, rule in core.overrides.in_force.items():
        other = rule.override
        if other.action is Action.EXCLUDE and other.includes(override):
            left.difference_update(record.worker_id for record in core.overrides.workers_of(other))
            if not left:
                return name
    return None


def _barred(named: list[WorkerRecord]) -> tuple[str, ...]:
    counts = Counter(record.barred for record in named if record.barred)
    total = f"{len(named)} {'worker' if len(named) == 1 else 'workers'}"
    return tuple(
        f"{count} of {total} {'is' if count == 1 else 'are'} {reason.name.lower().replace('_', ' ')}"
        for reason, count in sorted(counts.items())
    )


def _labels(override: Override) -> str:
    return ", ".join(f"{name}={value}" for name, value in override.labels)
