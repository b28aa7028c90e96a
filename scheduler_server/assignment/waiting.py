"""The tasks that wait, by what they need: which is next for a slot, and how many are ahead of one?

    lanes.py   tasks in groups by what they need, which of a group is next
    reach.py   which groups can use which pools
    ranks      by group, a lower bound of its first task's rank: a freed slot compares those of the groups it can serve
    rank.py    how many, and how much work, stand before a task

Nothing here looks at all waiting tasks. An unsatisfiable task is in a group that no open pool serves, so it blocks
nobody.
"""

from collections.abc import Iterable
from math import inf
from typing import TYPE_CHECKING

from scheduler_server.assignment.events import Submit
from scheduler_server.assignment.expected_start import Answer
from scheduler_server.assignment.lanes import Entry, Group, Lane
from scheduler_server.assignment.order import Coming, Order
from scheduler_server.assignment.rank import RankIndex
from scheduler_server.assignment.reach import Reach
from scheduler_server.assignment.tenants import Tenant, Tenants
from scheduler_server.model.task import Delivery, Prospects, Task
from scheduler_server.registry.eligibility import ClassKey, EligibilityClass
from scheduler_server.registry.fleet import Fleet
from scheduler_server.registry.pool import Pool

if TYPE_CHECKING:
    from scheduler_server.assignment.overrides import Overrides

MOST_GROUPS = 2_048
"""Different sets of needs that may wait at once. Half of the eligibility classes remembered, so that waiting ones do
not push each other out; and a query of position sums over all of them."""

_SPARE_GROUPS = 64
"""Empty groups kept beyond twice the used ones: needs come back."""

_SPARE_LANES = 64
"""Empty lanes of a tenant kept beyond twice those with tasks."""


class Waiter:
    """One attempt of one task that waits.

    `since` and the other `*_at` are monotonic seconds, `since_wall` wall seconds. `tickets` are the calls that wait for
    it, by number, with the instants at which they give up; `enqueued` says that it waits without any. It is `placeable`
    while it stands in a group, and not while it is held back by its not_before, or `paused`. `p50_s` and `work_s`
    (median, mean) are its duration as predicted when it began to wait: its place in the order rests on them.
    """

    __slots__ = (
        "answer", "enqueued", "event", "expires_at", "gone", "group", "key", "lane", "p50_s", "paused", "placeable",
        "rank_key", "sequence", "since", "since_wall", "tenant", "tickets", "timer_at", "told", "work_s",
    )  # fmt: skip

    def __init__(self, event: Submit, now: float, wall: float, sequence: int) -> None:
        self.event = event
        self.since = now
        self.since_wall = wall
        self.sequence = sequence
        self.enqueued = False
        self.expires_at = inf
        self.timer_at = inf  # the instant that is watched for it
        self.tickets: dict[int, float] = {}
        self.p50_s = 0.0
        self.work_s = 0.0
        self.key = 0.0
        self.rank_key: tuple[float, int] = (0.0, sequence)
        self.group: Group | None = None
        self.lane: Lane | None = None
        self.tenant: Tenant | None = None
        self.answer: Answer | None = None
        self.told: Prospects | None = None  # of its start, when it took its place
        self.placeable = False
        self.paused = False
        self.gone = False

    def __lt__(self, other: "Waiter") -> bool:
        return self.sequence < other.sequence

    def __repr__(self) -> str:
        return f"<waiting {self.event.task.key!r} since {self.since_wall!r}>"


class WaitingTasks:
    """The index.

    Invariants: `by_task` has each under its tenant and id, `placeable` of them stand in groups; between events none of
    these could use a candidate in a pool that is not among the fleet's `opened`.
    """

    def __init__(self, fleet: Fleet, order: Order, tenants: Tenants) -> None:
        self._fleet = fleet
        self.order = order
        self.tenants = tenants
        self.overrides: Overrides | None = None  # while there are any
        self.by_task: dict[tuple[str, str], Waiter] = {}
        self.placeable = 0
        self.payload_bytes = 0
        self._last_sequence = 0
        self._begin()

    def _begin(self) -> None:
        self.reach = Reach(self._fleet)
        self._groups: dict[ClassKey, Group] = {}
        self._used_groups = 0
        self._listed: list[Group | None] = []
        self._free: list[int] = []
        self._ranks: list[float] = []
        self._blocked: set[int] = set()  # groups with blocked lanes
        self._index = RankIndex()
        self.placeable = 0

    def __len__(self) -> int:
        return len(self.by_task)

    @property
    def group_count(self) -> int:
        """Different sets of needs that wait."""
        return self._used_groups

    # ------------------------------------------------------------------ come and go

    def new(self, event: Submit, now: float, wall: float, sequence: int | None = None) -> Waiter:
        """A task that is to wait; nothing is known of it here yet. `sequence`: the one that it had before a restart."""
        if sequence is None:
            sequence = self._last_sequence + 1
        self._last_sequence = max(self._last_sequence, sequence)
        return Waiter(event, now, wall, sequence)

    def hold(self, waiter: Waiter) -> None:
        """Take a task in, not to be placed yet."""
        task = waiter.event.task
        self.by_task[task.tenant, task.task_id] = waiter
        self.payload_bytes += len(task.payload)
        waiter.tenant = tenant = self.tenants.get(task.tenant)
        tenant.waiting += 1

    def release(self, waiter: Waiter) -> Group:
        """Let a task that is held take its place among the others; its group."""
        task = waiter.event.task
        tenant = waiter.tenant or self.tenants.get(task.tenant)
        order = self.order
        waiter.key = order.key(Coming(waiter.since, self._priority(task), waiter.p50_s))
        waiter.group = group = self._group(waiter)
        waiter.placeable = True
        self.placeable += 1
        index = group.index
        if not group.count:
            group.owner = tenant
            tenant.groups += 1
            self._used_groups += 1
        group.count += 1
        waiter.lane = lane = group.lane(waiter.event.excluded, tenant if order.by_tenant else None)
        if order.by_tenant:
            if not lane.tasks:
                self._start(lane, tenant)
            tenant.line = max(tenant.line, tenant.used) + waiter.work_s / tenant.weight
            waiter.rank_key = (tenant.line + lane.offset, waiter.sequence)
        else:
            waiter.rank_key = (waiter.key, waiter.sequence)
        lane.add(waiter)
        rank = waiter.key if not order.by_tenant else tenant.used + lane.offset
        self._ranks[index] = min(self._ranks[index], rank)
        self._index.add(waiter.rank_key, index, waiter.work_s)
        return group

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
                self.tenants.begins_anew(tenant)
            offset = rank - tenant.used
        lane.offset = offset
        if len(tenant.lanes) > _SPARE_LANES:
            empty = [other for other in tenant.lanes if not other.tasks and other is not lane]
            if 2 * len(empty) > len(tenant.lanes) + _SPARE_LANES:
                for other in empty:
                    del tenant.lanes[other]
                    other.group.forget(other)
        tenant.lanes[lane] = None

    def remove(self, waiter: Waiter) -> None:
        """Let a task go, whatever became of it."""
        task = waiter.event.task
        del self.by_task[task.tenant, task.task_id]
        self.payload_bytes -= len(task.payload)
        waiter.gone = True
        if waiter.tenant is not None:
            waiter.tenant.waiting -= 1
        self.withdraw(waiter)

    def withdraw(self, waiter: Waiter) -> None:
        """Hold a task back that has its place among the others."""
        group, lane = waiter.group, waiter.lane
        if not waiter.placeable or group is None or lane is None:
            return
        waiter.placeable = False
        self.placeable -= 1
        self._index.remove(waiter.rank_key)
        lane.remove(waiter)
        group.count -= 1
        if group.count:
            if group.heap:
                self._ranks[group.index] = group.heap[0][0]
            return
        self._ranks[group.index] = inf
        self._blocked.discard(group.index)
        self._used_groups -= 1
        if group.owner is not None:
            group.owner.groups -= 1
            group.owner = None

    def replace(self, waiter: Waiter, event: Submit) -> Waiter:
        """Let a task wait on as this request, which differs from its own only in whom it is to be given to."""
        other = self.new(event, waiter.since, waiter.since_wall)
        for name in ("answer", "enqueued", "expires_at", "p50_s", "paused", "tickets", "told", "work_s"):
            setattr(other, name, getattr(waiter, name))
        placeable = waiter.placeable
        self.remove(waiter)
        self.hold(other)
        if placeable:
            self.release(other)
        return other

    def refile(self, waiters: list[Waiter]) -> None:
        """Let placeable tasks take their places anew: who may take them, or their priority, is another than before."""
        if self.order.by_tenant or 2 * len(waiters) > self.placeable:
            self.reorder(self.order)
            return
        for waiter in waiters:
            self.withdraw(waiter)
        for waiter in waiters:
            self.release(waiter)

    def _priority(self, task: Task) -> float:
        return task.priority if self.overrides is None else self.overrides.priority(task)

    def reorder(self, order: Order) -> None:
        """Wait in another order from now on. Takes as long as all of them coming anew."""
        waiting = [waiter for waiter in self.by_task.values() if waiter.placeable]
        for waiter in waiting:
            waiter.placeable = False
            waiter.key = order.key(Coming(waiter.since, self._priority(waiter.event.task), waiter.p50_s))
        # Where tenants have turns, each takes its place behind those that came before; otherwise the index is made
        # from its first to its last, which takes half the time.
        waiting.sort(key=_by_number if order.by_tenant else _by_key)
        for group in self._groups.values():
            if group.owner is not None:
                group.owner.groups -= 1
        self.order = order
        self._begin()
        for tenant in self.tenants:
            tenant.line = 0.0
            tenant.lanes = {}
        for waiter in waiting:
            self.release(waiter)

    # ------------------------------------------------------------------ groups and pools

    def has_group(self, event: Submit) -> bool:
        """Do tasks with the same needs wait?"""
        group = self._groups.get(self.needs(event))
        return group is not None and group.count > 0

    def _group(self, waiter: Waiter) -> Group:
        needs = self.needs(waiter.event)
        group = self._groups.get(needs)
        if group is None:
            if len(self._groups) > 2 * self._used_groups + _SPARE_GROUPS:
                self._forget_empty_groups()
            index = self._free.pop() if self._free else len(self._listed)
            group = self._groups[needs] = Group(needs, index, self.tenants)
            if index == len(self._listed):
                self._listed.append(group)
                self._ranks.append(inf)
            else:
                self._listed[index] = group
                self._ranks[index] = inf
            self.reach.set(index, needs)
            if self.overrides is not None:
                self.overrides.wait_by(needs)
        return group

    def needs(self, event: Submit) -> ClassKey:
        """What a task's workers must have: tasks of one answer can use the same slots."""
        if self.overrides is not None:
            return self.overrides.needs(event)
        task = event.task
        return (task.required, task.labels, event.delivery is Delivery.STREAM)

    def groups(self) -> Iterable[Group]:
        """Those that tasks wait in, or did."""
        return self._groups.values()

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

    def eligible(self, waiter: Waiter) -> EligibilityClass | None:
        """The pools that could serve a placeable task; None: it asks for more label keys than can be sorted by."""
        return self.reach.eligible(waiter.group.index) if waiter.group is not None else None

    # ------------------------------------------------------------------ who is next

    def opened(self) -> list[Pool]:
        """The pools that became usable since this was last asked, each once. They are to be filled now."""
        self.reach.current()
        opened = self._fleet.opened
        pools = list(dict.fromkeys(opened)) if len(opened) > 1 else list(opened)
        opened.clear()
        if self._blocked:
            for pool in pools:
                for index in self._blocked.intersection(self.reach.of_pool(pool)):
                    self._blocked.discard(index)
                    group = self._listed[index]
                    if group is not None:
                        group.unblock()
                        self._ranks[index] = -inf  # not known: looked at when it is its turn
        return pools

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

    def block(self, waiter: Waiter) -> None:
        """It excludes every worker that is free now: pass over it until another becomes free."""
        if waiter.group is not None and waiter.lane is not None:
            waiter.group.block(waiter.lane)
            self._blocked.add(waiter.group.index)

    # ------------------------------------------------------------------ how many are ahead

    def ahead(self, waiter: Waiter) -> tuple[int, float]:
        """Tasks before this one that could take the same slots, and the work in slot-seconds that falls on these."""
        group = waiter.group
        if group is None:
            return 0, 0.0
        return self._index.ahead(waiter.rank_key, self.reach.among(group.index))


def _by_number(waiter: Waiter) -> int:
    return waiter.sequence


def _by_key(waiter: Waiter) -> tuple[float, int]:
    return waiter.key, waiter.sequence
