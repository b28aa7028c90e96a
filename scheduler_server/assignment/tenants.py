"""Who has had how much? Fairness by predicted slot-seconds, not by number of tasks.

Start-time fair queueing (Goyal, Vin and Cheng 1996) with one difference: a tenant's next task is charged when it
starts, not when it comes, because what was charged wrongly must count at once and not behind a long queue.
"""

from collections import OrderedDict
from collections.abc import Mapping

_REMEMBERED = 10_000
"""Tenants remembered while they have nothing waiting. One that is forgotten starts at the minimum, as it would after a
long absence anyway."""


class Tenant:
    """What one tenant has had, in weighted slot-seconds.

    `used` never falls: what it was charged too much is kept as `credit` and taken off its next charges.
    """

    __slots__ = ("credit", "line", "name", "used", "waiting", "weight")

    def __init__(self, name: str, weight: float) -> None:
        self.name = name
        self.weight = weight
        self.used = 0.0
        self.credit = 0.0
        self.line = 0.0  # what it will have had when all that waits of it has been served
        self.waiting = 0  # tasks


class Tenants:
    """All tenants with tasks that wait, and those lately served."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        self._weights = weights
        self._known: OrderedDict[str, Tenant] = OrderedDict()
        self.floor = 0.0  # what the tenant served last had had: who comes back starts there

    def get(self, name: str) -> Tenant:
        """A tenant by name; made where it is new."""
        tenant = self._known.get(name)
        if tenant is None:
            while len(self._known) >= _REMEMBERED and not self._forget_one():
                break
            tenant = self._known[name] = Tenant(name, self._weights.get(name, 1.0))
            tenant.used = self.floor
        return tenant

    def _forget_one(self) -> bool:
        for name, tenant in self._known.items():
            if not tenant.waiting:
                del self._known[name]
                return True
            self._known.move_to_end(name)
            return False
        return False

    def waiting(self, name: str) -> int:
        """How many tasks of a tenant wait."""
        tenant = self._known.get(name)
        return tenant.waiting if tenant is not None else 0

    def comes(self, tenant: Tenant) -> None:
        """A task of it begins to wait."""
        if not tenant.waiting:
            tenant.used = max(tenant.used, self.floor)  # what it did not use while it was away is not saved up
        tenant.waiting += 1

    def goes(self, tenant: Tenant) -> None:
        """A task of it waits no more."""
        tenant.waiting -= 1

    def served(self, tenant: Tenant) -> None:
        """It is its turn: nobody who comes back starts below it."""
        self.floor = max(self.floor, tenant.used)

    def charge(self, tenant: Tenant, slot_s: float) -> None:
        """Count slot-seconds that it is about to use, or give back some (below 0)."""
        cost = slot_s / tenant.weight - tenant.credit
        if cost >= 0.0:
            tenant.used += cost
            tenant.credit = 0.0
        else:
            tenant.credit = -cost

    def __len__(self) -> int:
        return len(self._known)
