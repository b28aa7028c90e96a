"""The tasks that wait, by what they need: which is next for a slot, and how many are ahead of one?

    group    one set of needs (capabilities, labels, delivery, workers excluded); its tasks can use the same pools
    lane     the tasks of one group, or of one tenant in it where the order goes by tenant; a heap of absolute keys
    ranks    by group, a lower bound of its first task's rank: a freed slot compares those of the groups it can serve

Nothing here looks at all waiting tasks. An unsatisfiable task is in a group that no open pool serves, so it blocks
nobody. Dead entries (cancelled, expired) stay in their heap until they come to its top or outnumber the living.
"""

from heapq import heapify, heappop, heappush
from itertools import count
from math import inf
from typing import Any

import numpy as np

from scheduler_server.assignment.events import Submit
from scheduler_server.assignment.expected_start import Answer
from scheduler_server.assignment.order import Coming, Order
from scheduler_server.assignment.rank import RankIndex
from scheduler_server.assignment.tenants import Tenant, Tenants
from scheduler_server.model.prediction import Prediction
from scheduler_server.model.task import Delivery
from scheduler_server.registry.eligibility import ClassKey, EligibilityClass
from scheduler_server.registry.fleet import Fleet

_SPARE_GROUPS = 64
"""Empty groups kept beyond twice the used ones: needs come back."""

_LEAST_DEAD = 64


class Waiter:
    """One attempt of one task that waits.

    `since` and the other `*_at` are monotonic seconds, `since_wall` wall seconds. `tickets` are the calls that wait for
    it, by number, with the instants at which they give up; `enqueued` says that it waits without any. It is `placeable`
    while it stands in a group, and not while it is held back by its not_before.
    """

    __slots__ = (
        "answer", "enqueued", "event", "expires_at", "gone", "group", "key", "placeable", "prediction", "rank_key",
        "sequence", "since", "since_wall", "tenant", "tickets", "work_s",
    )  # fmt: skip

    def __init__(self, event: Submit, now: float, wall: float, sequence: int) -> None:
        self.event = event
        self.since = now
        self.since_wall = wall
        self.sequence = sequence
        self.enqueued = False
        self.expires_at = inf
        self.tickets: dict[int, float] = {}
        self.prediction: Prediction | None = None
        self.work_s = 0.0
        self.key = 0.0
        self.rank_key: tuple[float, int] = (0.0, sequence)
        self.group: Group | None = None
        self.tenant: Tenant | None = None
        self.answer: Answer | None = None
        self.placeable = False
        self.gone = False

    def __lt__(self, other: "Waiter") -> bool:
        return self.sequence < other.sequence


class _Lane:
    __slots__ = ("dead", "heap", "rank", "tenant")

    def __init__(self, tenant: Tenant | None) -> None:
        self.tenant = tenant
        self.heap: list[tuple[float, int, Waiter]] = []
        self.rank: float | None = None  # with which it stands in its group's heap
        self.dead = 0

    def head(self) -> Waiter | None:
        heap = self.heap
        while heap:
            waiter = heap[0][2]
            if waiter.placeable:
                return waiter
            heappop(heap)
            self.dead -= 1
        return None


class Group:
    """The waiting tasks of one set of needs."""

    __slots__ = ("count", "eligible", "excluded", "heap", "index", "lanes", "needs")

    def __init__(self, needs: ClassKey, excluded: tuple[str, ...], index: int) -> None:
        self.needs = needs
        self.excluded = excluded
        self.index = index
        self.eligible: EligibilityClass | None = None
        self.count = 0
        self.lanes: dict[str, _Lane] = {}
        self.heap: list[tuple[float, int, _Lane]] = []

    def first(self, by_tenant: bool) -> tuple[float, Waiter] | None:
        """The rank of the task that is next, and the task."""
        heap = self.heap
        while heap:
            rank, _, lane = heap[0]
            head = lane.head() if rank == lane.rank else None
            if head is None:  # an entry from before, or an empty lane
                heappop(heap)
                if rank == lane.rank:
                    lane.rank = None
                    if lane.tenant is not None:
                        self.lanes.pop(lane.tenant.name, None)
                continue
            current = lane.tenant.used if by_tenant and lane.tenant is not None else head.key
            if current != rank:  # its tenant has been served since, or its first task is gone
                heappop(heap)
                lane.rank = current
                heappush(heap, (current, head.sequence, lane))
                continue
            return rank, head
        return None


class WaitingTasks:
    """The index. Invariants: `count` tasks are placeable or held back; `by_task` has each under its tenant and id."""

    def __init__(self, fleet: Fleet, order: Order, tenants: Tenants) -> None:
        self._fleet = fleet
        self.order = order
        self.tenants = tenants
        self.by_task: dict[tuple[str, str], Waiter] = {}
        self.placeable = 0
        self.payload_bytes = 0
        self._sequence = count(1)
        self._groups: dict[tuple[ClassKey, tuple[str, ...]], Group] = {}
        self._listed: list[Group | None] = []
        self._free: list[int] = []
        self._index = RankIndex()
        self._ranks = np.zeros(0)
        self._pools: Any = None  # the fleet's list that the rest is true of, and how many pools it had
        self._known_pools = -1
        self._wanted = np.zeros(0)  # by pool, how many groups with waiting tasks it serves
        self._of_pool: list[np.ndarray[Any, np.dtype[np.intp]]] = []  # by pool, the indexes of the groups it serves
        self._overlaps: dict[int, np.ndarray[Any, np.dtype[np.float64]]] = {}
        self._serving: np.ndarray[Any, np.dtype[np.bool_]] = np.zeros((0, 0), dtype=np.bool_)

    def __len__(self) -> int:
        return len(self.by_task)

    # ------------------------------------------------------------------ come and go

    def new(self, event: Submit, now: float, wall: float) -> Waiter:
        """A task that is to wait; nothing is known of it here yet."""
        return Waiter(event, now, wall, next(self._sequence))

    def hold(self, waiter: Waiter) -> None:
        """Take a task in, not to be placed yet."""
        task = waiter.event.task
        self.by_task[task.tenant, task.task_id] = waiter
        self.payload_bytes += len(task.payload)
        waiter.tenant = tenant = self.tenants.get(task.tenant)
        self.tenants.comes(tenant)

    def release(self, waiter: Waiter) -> None:
        """Let a task that is held take its place among the others."""
        task = waiter.event.task
        prediction = waiter.prediction
        p50_s = prediction.p50_ms / 1e3 if prediction is not None else 0.0
        waiter.work_s = prediction.mean_ms / 1e3 if prediction is not None else 0.0
        waiter.key = self.order.key(Coming(waiter.since, task.priority, p50_s))
        group = self._group(waiter)
        waiter.group = group
        waiter.placeable = True
        self.placeable += 1
        by_tenant = self.order.by_tenant
        tenant = waiter.tenant
        name = task.tenant if by_tenant else ""
        lane = group.lanes.get(name)
        if lane is None:
            lane = group.lanes[name] = _Lane(tenant if by_tenant else None)
        heappush(lane.heap, (waiter.key, waiter.sequence, waiter))
        rank = tenant.used if by_tenant and tenant is not None else waiter.key
        if lane.rank is None or rank < lane.rank:
            lane.rank = rank
            heappush(group.heap, (rank, waiter.sequence, lane))
        if not group.count:
            self._want(group, 1.0)
        group.count += 1
        index = group.index
        self._ranks[index] = min(self._ranks[index], rank)
        waiter.rank_key = (self._place_in_line(waiter), waiter.sequence)
        self._index.add(waiter.rank_key, index, waiter.work_s)

    def _place_in_line(self, waiter: Waiter) -> float:
        """What positions are counted by: the key; by tenant, what its tenant will have had when its turn comes."""
        tenant, group = waiter.tenant, waiter.group
        if not self.order.by_tenant or tenant is None or group is None:
            return waiter.key
        tenant.line = max(tenant.line, tenant.used) + waiter.work_s / tenant.weight
        return tenant.line

    def remove(self, waiter: Waiter) -> None:
        """Let a task go, whatever became of it."""
        task = waiter.event.task
        del self.by_task[task.tenant, task.task_id]
        self.payload_bytes -= len(task.payload)
        waiter.gone = True
        if waiter.tenant is not None:
            self.tenants.goes(waiter.tenant)
        if waiter.placeable:
            self._withdraw(waiter)

    def _withdraw(self, waiter: Waiter) -> None:
        group = waiter.group
        if group is None:
            return
        waiter.placeable = False
        self.placeable -= 1
        self._index.remove(waiter.rank_key)
        group.count -= 1
        if not group.count:
            self._want(group, -1.0)
            self._ranks[group.index] = inf
        lane = group.lanes.get(waiter.event.task.tenant if self.order.by_tenant else "")
        if lane is None:
            return
        if lane.heap and lane.heap[0][2] is waiter:
            heappop(lane.heap)
        else:
            lane.dead += 1
            if lane.dead > _LEAST_DEAD and 2 * lane.dead > len(lane.heap):
                lane.heap = [entry for entry in lane.heap if entry[2].placeable]
                heapify(lane.heap)
                lane.dead = 0

    def reorder(self, order: Order) -> None:
        """Wait in another order from now on. Takes as long as all of them coming anew."""
        waiting = [waiter for waiter in self.by_task.values() if waiter.placeable]
        for waiter in waiting:
            waiter.placeable = False
        self.order = order
        self.placeable = 0
        self._groups, self._listed, self._free = {}, [], []
        self._index = RankIndex()
        self._ranks = np.zeros(0)
        self._pools = None
        for tenant in {id(waiter.tenant): waiter.tenant for waiter in waiting}.values():
            if tenant is not None:
                tenant.line = 0.0
        for waiter in sorted(waiting):
            self.release(waiter)

    # ------------------------------------------------------------------ groups and pools

    def _group(self, waiter: Waiter) -> Group:
        event = waiter.event
        task = event.task
        needs = (task.required, task.labels, event.delivery is Delivery.STREAM)
        key = (needs, task.excluded)
        group = self._groups.get(key)
        if group is None:
            if len(self._groups) > 2 * sum(1 for each in self._groups.values() if each.count) + _SPARE_GROUPS:
                self._forget_empty_groups()
            index = self._free.pop() if self._free else len(self._listed)
            group = self._groups[key] = Group(needs, task.excluded, index)
            if index == len(self._listed):
                self._listed.append(group)
                if index >= len(self._ranks):
                    self._ranks = np.concatenate([self._ranks, np.full(max(16, index), inf)])
            else:
                self._listed[index] = group
            self._ranks[index] = inf
            self._pools = None  # resolve anew
        return group

    def _forget_empty_groups(self) -> None:
        for key in [key for key, group in self._groups.items() if not group.count]:
            group = self._groups.pop(key)
            self._listed[group.index] = None
            self._free.append(group.index)

    def _current(self) -> None:
        """Make what is known of pools true again after pools or groups came."""
        pools = self._fleet.pools
        if self._pools is pools and self._known_pools == len(pools):
            return
        self._pools, self._known_pools = pools, len(pools)
        self._overlaps = {}
        serving = np.zeros((len(self._listed), len(pools)), dtype=np.bool_)
        for group in self._groups.values():
            group.eligible = self._fleet.eligible(group.needs)
            if group.eligible is not None and len(group.eligible.positions):
                serving[group.index, group.eligible.positions] = True
        self._serving = serving
        used = np.array([group is not None and group.count > 0 for group in self._listed], dtype=np.float64)
        self._wanted = used @ serving if len(used) else np.zeros(len(pools))
        self._of_pool = [np.flatnonzero(serving[:, pool]) for pool in range(len(pools))]

    def _want(self, group: Group, by: float) -> None:
        if self._pools is self._fleet.pools and self._known_pools == len(self._fleet.pools):
            if group.index < len(self._serving):
                self._wanted[self._serving[group.index]] += by
            else:
                self._pools = None

    # ------------------------------------------------------------------ who is next

    def usable(self) -> bool:
        """Is there a worker with a free slot that some waiting task could take?"""
        if not self.placeable:
            return False
        self._current()
        return self._fleet.any_open(self._wanted)

    def next(self, skipped: set[int]) -> Waiter | None:
        """The task that is next for the slots that are free, of the groups not skipped; None: nobody can use them."""
        self._current()
        by_tenant = self.order.by_tenant
        pools = self._fleet.open_pools(self._wanted)
        if not len(pools):
            return None
        groups = self._of_pool[pools[0]]
        if len(pools) > 1:
            groups = np.unique(np.concatenate([self._of_pool[pool] for pool in pools]))
        if skipped:
            groups = groups[[index not in skipped for index in groups.tolist()]]
        ranks = self._ranks
        while len(groups):
            at = int(groups[ranks[groups].argmin()])
            bound = ranks[at]
            if bound == inf:
                return None
            group = self._listed[at]
            first = group.first(by_tenant) if group is not None else None
            if first is None:
                ranks[at] = inf
                continue
            rank, waiter = first
            if rank > bound:
                ranks[at] = rank
                continue
            if by_tenant:
                return self._of_equals(groups[ranks[groups] == bound].tolist(), rank, waiter)
            return waiter
        return None

    def _of_equals(self, groups: list[int], rank: float, waiter: Waiter) -> Waiter:
        """One tenant may have tasks in several groups: its own order decides between them."""
        for index in groups:
            group = self._listed[index]
            first = group.first(by_tenant=True) if group is not None else None
            if first is not None and first[0] == rank:
                other = first[1]
                if (other.key, other.sequence) < (waiter.key, waiter.sequence):
                    waiter = other
        return waiter

    # ------------------------------------------------------------------ how many are ahead

    def ahead(self, waiter: Waiter) -> tuple[int, float]:
        """Tasks before this one that could take the same slots, and their work in slot-seconds."""
        group = waiter.group
        if group is None:
            return 0, 0.0
        self._current()
        number, work = self._index.ahead(waiter.rank_key, self._overlap(group.index))
        return round(number), work

    def _overlap(self, index: int) -> "np.ndarray[Any, np.dtype[np.float64]]":
        """By group, 1 where it shares a pool with this one; of groups without any pool, only itself."""
        found = self._overlaps.get(index)
        if found is None:
            serving = self._serving
            found = (serving @ serving[index]).astype(np.float64)
            found[index] = 1.0
            self._overlaps[index] = found
        return found

    def slots(self, waiter: Waiter) -> tuple[float, float, int]:
        """Slots of the workers that could take it and are in the running; and what runs there.

        That is: the sum of the predicted ends (monotonic seconds), and how many tasks.
        """
        group = waiter.group
        self._current()
        eligible = group.eligible if group is not None else None
        return self._fleet.capacity_of(eligible.pools) if eligible is not None else (0.0, 0.0, 0)
