"""Who has had how much? Fairness by predicted slot-seconds, not by number of tasks.

Start-time fair queueing (Goyal, Vin and Cheng 1996) with one difference: a tenant's next task is charged when it
starts, not when it comes, because what was charged wrongly must count at once and not behind a long queue.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from scheduler_server.registry.columns import elements

if TYPE_CHECKING:
    from scheduler_server.assignment.lanes import Lane
    from scheduler_server.assignment.lineup import LineUp

_REMEMBERED = 10_000
"""Tenants remembered while they have nothing waiting. One that is forgotten starts where the others are."""


class Tenant:
    """What one tenant has had, in weighted slot-seconds.

    `used` never falls: what it was charged too much is kept as `credit` and taken off its next charges. `epoch` moves
    when it begins anew where the others are: what it was charged before is then of no account. `slot` is its place in
    the column of all that tenants have had.
    """

    __slots__ = (
        "credit", "epoch", "groups", "lanes", "line", "lined_up", "name", "running", "slot", "used", "waiting",
        "weight",
    )  # fmt: skip

    def __init__(self, name: str, weight: float, slot: int) -> None:
        self.name = name
        self.slot = slot
        self.weight = weight
        self.used = 0.0
        self.credit = 0.0
        self.epoch = 0
        self.running = 0.0  # charged for what has not ended
        self.line = 0.0  # what it will have had when all that waits of it has been served
        self.waiting = 0  # tasks
        self.groups = 0  # sets of needs that count for it
        self.lanes: dict[Lane, None] = {}  # where the order goes by tenant
        self.lined_up: LineUp | None = None  # where `line` and `lanes` are true


class Tenants:
    """All tenants with tasks that wait, and those lately served.

    Invariant: `used[tenant.slot]` is what it has had. Slots of tenants that were forgotten are used again; what such a
    tenant still runs is charged to slot 0, which is nobody's.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        self._weights = weights
        self._known: OrderedDict[str, Tenant] = OrderedDict()
        self.used = np.zeros(64)
        self.used_view = elements(self.used)
        self._free_slots: list[int] = []

    def __len__(self) -> int:
        return len(self._known)

    def __iter__(self) -> Iterator[Tenant]:
        return iter(self._known.values())

    def get(self, name: str) -> Tenant:
        """A tenant by name; made where it is new."""
        tenant = self._known.get(name)
        if tenant is None:
            if len(self._known) >= _REMEMBERED:
                self._forget_one()
            slot = self._free_slots.pop() if self._free_slots else len(self._known) + 1
            if slot == len(self.used):
                self.used = np.concatenate([self.used, np.zeros(slot)])
                self.used_view = elements(self.used)
            self.used_view[slot] = 0.0
            tenant = self._known[name] = Tenant(name, self._weights.get(name, 1.0), slot)
        return tenant

    def weigh(self, weights: Mapping[str, float]) -> None:
        """Take these weights from now on; 1 where nothing is said."""
        self._weights = weights
        for tenant in self:
            tenant.weight = weights.get(tenant.name, 1.0)

    def _forget_one(self) -> None:
        """Look at two: as many go as come, however many of them have something waiting."""
        for _ in range(2):
            name, tenant = next(iter(self._known.items()))
            if tenant.waiting:
                self._known.move_to_end(name)
                continue
            del self._known[name]
            self._free_slots.append(tenant.slot)
            tenant.slot = 0
            for lane in tenant.lanes:
                lane.group.forget(lane)
            tenant.lanes = {}

    def find(self, name: str) -> Tenant | None:
        """A tenant by name; None where it is not known."""
        return self._known.get(name)

    def begins_anew(self, tenant: Tenant) -> None:
        """It stands where the others are: it has saved nothing up, and owes nothing."""
        tenant.epoch += 1
        tenant.credit = 0.0

    def charge(self, tenant: Tenant, slot_s: float, epoch: int) -> None:
        """Count slot-seconds that it is about to use, or give back some (below 0), of a task begun in this epoch."""
        tenant.running += slot_s
        if epoch != tenant.epoch:
            return
        cost = slot_s / tenant.weight - tenant.credit
        if cost >= 0.0:
            tenant.used += cost
            self.used_view[tenant.slot] = tenant.used
            tenant.credit = 0.0
        else:
            tenant.credit = -cost
