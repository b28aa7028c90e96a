"""Overrides in force, and which of them have a part in a task's placement."""

from collections.abc import Iterable
from math import inf
from typing import NamedTuple

from scheduler_server.model.override import Action, Override
from scheduler_server.model.task import Task
from scheduler_server.registry.eligibility import Bounds, ClassKey

_RESOLVED = 4_096
"""Pairs of tenant and task type remembered with what applies to them; then all are worked out anew."""

_TASK, _TENANT_AND_TYPE, _TYPE, _TENANT = range(4)


class Rule:
    """One override, and what became of it.

    `number` counts them as they were made. `running` leases count for a cap: those that are live. `waiting` are the
    sets of needs in which tasks wait that a cap may hold back. `expires_at` is in monotonic seconds, `ended_at` and
    `last_applied` in wall seconds (0: not yet, never).
    """

    __slots__ = (
        "applied", "ended_at", "expires_at", "last_applied", "number", "override", "running", "told", "waiting",
    )  # fmt: skip

    def __init__(self, override: Override, number: int, expires_at: float = inf) -> None:
        self.override = override
        self.number = number
        self.expires_at = expires_at
        self.applied = 0
        self.last_applied = 0.0
        self.ended_at = 0.0
        self.running = 0
        self.waiting: dict[ClassKey, None] = {}
        self.told = (override.override_id, override.effect)

    @property
    def full(self) -> bool:
        """Does it cap, and are there as many as it allows?"""
        return self.override.action is Action.CAP and self.running >= self.override.most

    @property
    def narrowness(self) -> int:
        """Of two pins the one with the smaller number decides."""
        tenant, task_type, task_id = self.override.scope
        if task_id:
            return _TASK
        if tenant is None:
            return _TYPE
        return _TENANT_AND_TYPE if task_type else _TENANT


class Steering(NamedTuple):
    """All that applies to a task.

    `rules` in the order in which they apply: exclusions, pin, caps, boosts. `bounds` is what holds for every worker
    (None: nothing), `first` who is tried before (None: nobody). `pin` is among the rules, `boost` the sum of them.
    """

    rules: tuple[Rule, ...]
    caps: tuple[Rule, ...]
    pin: Rule | None
    bounds: Bounds | None
    first: Bounds | None
    boost: float


class Rules:
    """Rules by id, and by what they are about.

    Invariant: `_resolved` has, by tenant and type, what applies to tasks that no rule names by their id.
    """

    def __init__(self) -> None:
        self.by_id: dict[str, Rule] = {}
        self._by_scope: dict[tuple[str | None, str], list[Rule]] = {}
        self._by_task: dict[tuple[str, str], list[Rule]] = {}
        self._resolved: dict[tuple[str, str], Steering | None] = {}

    def add(self, rule: Rule) -> None:
        """Let it apply."""
        self.by_id[rule.override.override_id] = rule
        self._among(rule).append(rule)
        self._resolved.clear()

    def remove(self, rule: Rule) -> None:
        """Let it apply no more."""
        del self.by_id[rule.override.override_id]
        self._among(rule).remove(rule)
        tenant, task_type, task_id = rule.override.scope
        if task_id:
            if not self._by_task[tenant or "", task_id]:
                del self._by_task[tenant or "", task_id]
        elif not self._by_scope[tenant, task_type]:
            del self._by_scope[tenant, task_type]
        self._resolved.clear()

    def _among(self, rule: Rule) -> list[Rule]:
        tenant, task_type, task_id = rule.override.scope
        if task_id:
            return self._by_task.setdefault((tenant or "", task_id), [])
        return self._by_scope.setdefault((tenant, task_type), [])

    def of(self, task: Task) -> Steering | None:
        """What applies to a task; None: nothing."""
        named = self._by_task.get((task.tenant, task.task_id)) if self._by_task else None
        key = (task.tenant, task.task_type)
        if named is None:
            try:
                return self._resolved[key]
            except KeyError:
                pass
        by_scope = self._by_scope
        found = [
            *by_scope.get(key, ()),
            *by_scope.get((task.tenant, ""), ()),
            *by_scope.get((None, task.task_type), ()),
        ]
        if named is not None:
            found += [rule for rule in named if rule.override.covers(task)]
            return _resolve(found)
        if len(self._resolved) >= _RESOLVED:
            self._resolved.clear()
        made = self._resolved[key] = _resolve(found)
        return made


def _resolve(found: Iterable[Rule]) -> Steering | None:
    by_action: dict[Action, list[Rule]] = {action: [] for action in Action}
    for rule in sorted(found, key=lambda rule: rule.number):
        by_action[rule.override.action].append(rule)
    excludes, caps, boosts = by_action[Action.EXCLUDE], by_action[Action.CAP], by_action[Action.BOOST]
    pin = min(by_action[Action.PIN], key=lambda rule: (rule.narrowness, -rule.number), default=None)
    rules = (*excludes, *([pin] if pin is not None else []), *caps, *boosts)
    if not rules:
        return None
    bounds = Bounds("", tuple(map(_id, excludes)), tuple(map(_id, caps)))
    first = None
    if pin is not None:
        pinned = bounds._replace(pin=_id(pin))
        if pin.override.preferred:
            first = pinned
        else:
            bounds = pinned
    boost = sum(rule.override.delta for rule in boosts)
    return Steering(rules, tuple(caps), pin, None if bounds == _NOTHING else bounds, first, boost)


def _id(rule: Rule) -> str:
    return rule.override.override_id


_NOTHING = Bounds("", (), ())
