"""Tasks that wait in one order, by what they need: which is next for a slot, and how many are ahead of one?

    lanes.py   tasks in groups by what they need, which of a group is next
    reach.py   which groups can use which pools
    ranks      by group, a lower bound of its first task's rank: a freed slot compares those of the groups it can serve
    rank.py    how many, and how much work, stand before a task

Nothing here looks at all waiting tasks. An unsatisfiable task is in a group that no open pool serves, so it blocks
nobody.
"""

from array import array
from collections.abc import Iterable, Iterator
from math import frexp, inf
from typing import TYPE_CHECKING

import numpy as np

from scheduler_server.assignment.lanes import Entry, Group, Lane
from scheduler_server.assignment.order import Coming, Order
from scheduler_server.assignment.rank import RankIndex
from scheduler_server.assignment.reach import Reach
from scheduler_server.assignment.tenants import Tenant, Tenants
from scheduler_server.registry.eligibility import ClassKey, EligibilityClass
from scheduler_server.registry.fleet import Fleet
from scheduler_server.registry.pool import Pool

if TYPE_CHECKING:
    from scheduler_server.assignment.overrides import Overrides
    from scheduler_server.assignment.waiting import Waiter

_SPARE_GROUPS = 64
"""Empty groups kept beyond twice the used ones: needs come back."""

_SPARE_LANES = 64
"""Empty lanes of a tenant kept beyond twice those with tasks."""

_FAR = 1e300
_LAST = (inf, 2**62)
"""Beyond every place."""


class LineUp:
    """One order, and those who wait in it.

    Invariant: `count` tasks stand in groups, each of them in one lane and, by its `rank_key`, in the index.

    It is `leaving` once another takes over: turns of tenants are counted there from then on.
    """

    def __init__(self, fleet: Fleet, order: Order, tenants: Tenants, overrides: "Overrides | None") -> None:
        self._fleet = fleet
        self.order = order
        self.overrides = overrides
        self._tenants = tenants
        self.count = 0
        self.leaving = False
        self.by_length = False
        self.reach = Reach(fleet)
        self.used_groups = 0
        self._groups: dict[ClassKey, Group] = {}
        self._listed: list[Group | None] = []
        self._free: list[int] = []
        self._ranks: list[float] = []
        self._blocked: set[int] = set()  # groups with blocked lanes
        self._index = RankIndex()
        self._work = array("d")  # by group

    # ------------------------------------------------------------------ come and go

    def key(self, waiter: "Waiter") -> float:
        """The key that a task has here, by its priority as it is now."""
        task = waiter.event.task
        priority = task.priority if self.overrides is None else self.overrides.priority(task)
        return self.order.key(Coming(waiter.since, priority, waiter.work_s, waiter.allowance_s))

    def add(self, waiter: "Waiter", needs: ClassKey) -> None:
        """Let a task with these needs take its place."""
        order = self.order
        tenant = waiter.tenant or self._tenants.get(waiter.event.task.tenant)
        waiter.key = self.key(waiter)
        waiter.group = group = self._group(needs)
        self.count += 1
        index = group.index
        if not group.count:
            group.owner = tenant
            tenant.groups += 1
            self.used_groups += 1
        group.count += 1
        waiter.lane = lane = group.lane(self._alike(waiter), tenant if order.by_tenant else None)
        if order.by_tenant:
            waiter.rank_key = (self._line(lane, tenant, waiter.work_s), waiter.sequence)
        else:
            waiter.rank_key = (waiter.key, waiter.sequence)
        lane.add(waiter)
        rank = waiter.key if not order.by_tenant else tenant.used + lane.offset
        self._ranks[index] = min(self._ranks[index], rank)
        self._index.add(waiter.rank_key, index, waiter.work_s)
        self._work[index] += waiter.work_s

    def joins(self, waiter: "Waiter", needs: ClassKey) -> bool:
        """May a task that comes stand behind what is here yet, though another takes over?"""
        if not self.order.by_tenant:
            return True
        group = self._groups.get(needs)
        lane = None if group is None else group.lanes.get((self._alike(waiter), waiter.event.task.tenant))
        return lane is not None and bool(lane.tasks)

    def _alike(self, waiter: "Waiter") -> tuple[str, ...]:
        """What tasks of one lane have in common: whom they exclude.

        Where they have to end within a shift, their lengths too, to a factor of two: a long one that nobody has time
        for must not hold up a short one.
        """
        excluded = waiter.event.excluded
        return (*excluded, f"\0{frexp(waiter.p50_s)[1]}") if self.by_length else excluded

    def _line(self, lane: Lane, tenant: Tenant, work_s: float) -> float:
        """Where a task stands among all, that comes last in its tenant's lane."""
        if self.leaving:
            return _FAR
        if tenant.lined_up is not self:  # what it had in a line-up before this one is of no account here
            tenant.lined_up = self
            tenant.line = 0.0
            tenant.lanes = {}
        if not lane.tasks:
            self._start(lane, tenant)
        tenant.line = max(tenant.line, tenant.used) + work_s / tenant.weight
        return tenant.line + lane.offset

    def _start(self, lane: Lane, tenant: Tenant) -> None:
        """Say where a lane stands that was empty.

        Not before the task that was placed last for such slots: what a tenant did not use is not saved up. As far back
        as the tenant's other tasks for these slots; if none wait, no further back than by what it has running.
        """
        level = max((pool.level for pool in self._pools(lane.group.index)), default=0.0)
        tag = lane.tag if lane in tenant.lanes else -inf
        alike = self.reach.among(lane.group.index).alike
        offset: float | None = None
        debt = level
        known = len(alike)
        for other in tenant.lanes:
            at = other.group.index
            if at >= known or not alike[at] or other is lane:
                continue
            if other.tasks:
                offset = other.offset if offset is None else max(offset, other.offset)
            else:
                debt = max(debt, other.tag)
        debt = min(debt, level + max(0.0, tenant.running) / tenant.weight)
        if offset is None:
            rank = max(level, tag, debt)
            if rank == level > tag:
                self._tenants.begins_anew(tenant)
            offset = rank - tenant.used
        lane.offset = offset
        if len(tenant.lanes) > _SPARE_LANES:
            empty = [other for other in tenant.lanes if not other.tasks and other is not lane]
            if 2 * len(empty) > len(tenant.lanes) + _SPARE_LANES:
                for other in empty:
                    del tenant.lanes[other]
                    other.group.forget(other)
        tenant.lanes[lane] = None

    def remove(self, waiter: "Waiter", group: Group, lane: Lane) -> None:
        """Let a task go that stands here."""
        self.count -= 1
        self._index.remove(waiter.rank_key)
        self._work[group.index] -= waiter.work_s
        lane.remove(waiter)
        group.count -= 1
        if group.count:
            if group.heap:
                self._ranks[group.index] = group.heap[0][0]
            return
        self._ranks[group.index] = inf
        self._work[group.index] = 0.0
        self._blocked.discard(group.index)
        self.used_groups -= 1
        if group.owner is not None:
            group.owner.groups -= 1
            group.owner = None

    # ------------------------------------------------------------------ groups and pools

    def _group(self, needs: ClassKey) -> Group:
        group = self._groups.get(needs)
        if group is None:
            if len(self._groups) > 2 * self.used_groups + _SPARE_GROUPS:
                self._forget_empty_groups()
            index = self._free.pop() if self._free else len(self._listed)
            group = self._groups[needs] = Group(self, needs, index, self._tenants)
            if index == len(self._listed):
                self._listed.append(group)
                self._ranks.append(inf)
                self._work.append(0.0)
            else:
                self._listed[index] = group
                self._ranks[index] = inf
            self.reach.set(index, needs)
            if self.overrides is not None:
                self.overrides.wait_by(needs)
        return group

    def groups(self) -> Iterable[Group]:
        """Those that tasks stand in, or did."""
        return self._groups.values()

    def totals(self) -> Iterator[tuple[Group, int, float]]:
        """By group, how many tasks stand in it, and their work in slot-seconds."""
        sums = self._index.totals()
        for group in list(self._groups.values()):
            if group.count:
                yield group, group.count, max(0.0, float(sums[group.index].imag))

    def group_of(self, needs: ClassKey) -> Group | None:
        """The group of these needs."""
        return self._groups.get(needs)

    def _forget_empty_groups(self) -> None:
        for group in [group for group in self._groups.values() if not group.count]:
            for lane in group.lanes.values():
                if lane.tenant is not None:
                    lane.tenant.lanes.pop(lane, None)
            del self._groups[group.needs]
            self._listed[group.index] = None
            self.reach.set(group.index, None)
            self._free.append(group.index)

    def _pools(self, index: int) -> list[Pool]:
        eligible = self.reach.eligible(index)
        return eligible.pools if eligible is not None else []

    def eligible(self, group: Group) -> EligibilityClass | None:
        """The pools that could serve a group; None: it asks for more label keys than can be sorted by."""
        return self.reach.eligible(group.index)

    # ------------------------------------------------------------------ who is next

    def unblock(self, pools: list[Pool]) -> None:
        """These pools have become usable: who was passed over may be next for them."""
        self.reach.current()
        if self._blocked:
            for pool in pools:
                for index in self._blocked.intersection(self.reach.of_pool(pool)):
                    self._blocked.discard(index)
                    group = self._listed[index]
                    if group is not None:
                        group.unblock()
                        self._ranks[index] = -inf  # not known: looked at when it is its turn

    def next(self, pools: list[Pool]) -> "tuple[Entry, Waiter] | None":
        """The task that is next for the candidates in these pools, and where it stands; None: none can use them.

        Pools without candidates are taken out of the list.
        """
        while pools and not pools[-1].counts[0]:
            pools.pop()
        if not pools:
            return None
        of_pool = self.reach.of_pool
        if len(pools) == 1:
            groups = of_pool(pools[0])
        else:
            pools[:] = [pool for pool in pools if pool.counts[0]]
            groups = sorted(set().union(*map(of_pool, pools)))
        ranks, listed = self._ranks, self._listed
        if self.overrides is not None:
            groups = self.overrides.may_go(groups, listed)
        bounds = [ranks[index] for index in groups]
        exact: dict[int, tuple[Entry, Waiter]] = {}
        while True:
            bound = min(bounds, default=inf)
            if bound == inf:
                return None
            found = None
            place = bounds.index(bound)
            for at in (place,) if bounds.count(bound) == 1 else range(place, len(bounds)):
                if bounds[at] != bound:
                    continue
                first = exact.get(at)
                if first is None:
                    group = listed[groups[at]]
                    first = group.first() if group is not None else None
                    rank = inf if first is None else first[0][0]
                    if rank != bound:
                        bounds[at] = ranks[groups[at]] = rank
                    if first is None:
                        continue
                    exact[at] = first
                    if rank != bound:
                        continue
                if found is None or first[0][:3] < found[0][:3]:
                    found = first
            if found is not None:
                return found

    def block(self, group: Group, lane: Lane) -> None:
        """It excludes every worker that is free now: pass over it until another becomes free."""
        group.block(lane)
        self._blocked.add(group.index)

    # ------------------------------------------------------------------ how many are ahead

    def work_for(self, group: Group) -> float:
        """The work in slot-seconds of all that waits which falls on the slots that serve this group."""
        if not self.count:
            return 0.0
        among, work = self.reach.among(group.index), self._work
        if among.few is not None:
            return sum(share * work[index] for index, share in among.few if index < len(work))
        held = np.frombuffer(work, np.float64)
        width = min(len(held), len(among.shares))
        return float(among.shares[:width].dot(held[:width]))

    def ahead(self, waiter: "Waiter", group: Group) -> tuple[int, float]:
        """Tasks before this one that could take the same slots, and the work in slot-seconds that falls on these."""
        return self._index.ahead(waiter.rank_key, self.reach.among(group.index))

    def ahead_of_others(self, group: Group) -> tuple[int, float]:
        """The same for a task that stands in another line-up, in this group, behind all that stand here."""
        mine = self._groups.get(group.needs)
        if mine is not None:
            return self._index.ahead(_LAST, self.reach.among(mine.index))
        if not self.count:
            return 0, 0.0
        return self._index.ahead(_LAST, self.reach.alike(group.home.reach.row(group.index)))
