"""What running tasks are charged to their tenants, where the order goes by tenant.

The prediction when a task starts, as much again whenever it has run that long, and the truth when it ends.
"""

from scheduler_server.assignment.ledger import TaskRecord
from scheduler_server.assignment.tenants import Tenant, Tenants
from scheduler_server.assignment.timers import Timers

_LEAST_MORE_S = 1.0
"""The least that an overrun is charged: a task predicted to take nothing would be looked at for ever."""


class Usage:
    """Slot-seconds charged by lease. Invariant: each lease charged is among the timers, at the end of its charge."""

    def __init__(self, tenants: Tenants) -> None:
        self._tenants = tenants
        self._charged: dict[str, tuple[float, Tenant, int]] = {}
        self._overruns: Timers[TaskRecord] = Timers(lambda _at, record: record.lease_id in self._charged)

    def __len__(self) -> int:
        return len(self._charged)

    def began(self, record: TaskRecord) -> None:
        """A task starts: its tenant is charged what it is predicted to take."""
        slot_s = record.ends_at - record.granted_at
        tenant = self._tenants.get(record.task.tenant)
        self._charged[record.lease_id] = slot_s, tenant, tenant.epoch
        self._tenants.charge(tenant, slot_s, tenant.epoch)
        self._overruns.watch(record.ends_at, record)

    def ended(self, record: TaskRecord) -> None:
        """It is over: its tenant has had what it took."""
        found = self._charged.pop(record.lease_id, None)
        if found is not None:
            charged, tenant, epoch = found
            took = record.ended_at - (record.started_at or record.granted_at)
            self._tenants.charge(tenant, took - charged, epoch)
            tenant.running -= took

    def age(self, now: float) -> None:
        """Charge what runs longer than it was charged for: as long again, as far as anybody knows."""
        while (record := self._overruns.due(now)) is not None:
            charged, tenant, epoch = self._charged[record.lease_id]
            more = max(charged, _LEAST_MORE_S)
            self._charged[record.lease_id] = charged + more, tenant, epoch
            self._tenants.charge(tenant, more, epoch)
            self._overruns.watch(now + more, record)

    def forget(self) -> None:
        """Charge nobody any more."""
        for charged, tenant, _ in self._charged.values():
            tenant.running -= charged
        self._charged.clear()
