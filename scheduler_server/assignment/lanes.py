"""Queues of tasks that stand for the same slots, and which of them is next.

    group    one set of needs (capabilities, labels, delivery); its tasks can use the same pools
    lane     the tasks of one group that exclude the same workers and, where the order goes by tenant, are of one
             tenant; in the order of their absolute keys

A lane is not a heap: to take the first of a thousand tasks from a heap is to look at twenty of them, and each that
nobody has looked at for a while costs a fetch from memory. It is a list in runs of which only the first is sorted: a
task that comes is appended to its run, and a run is sorted when the one before it is used up.

A group keeps its lanes in a heap by rank, the key of their first task: ranks only rise except by a task that comes,
which enters the lane again, so an entry from before is a lower bound, put right when it comes to the top. Where the
order goes by tenant, a rank is what the tenant has had plus the lane's offset. What a tenant has had moves in all its
lanes at once: of fifty in a heap twenty would be out of date whenever anybody looks. So those lanes stand in columns,
and the least is found by adding two of them.
"""

from array import array
from bisect import insort
from heapq import heapify, heappop, heappush, heapreplace
from math import inf
from typing import TYPE_CHECKING

import numpy as np

from scheduler_server.assignment.backlog import Held
from scheduler_server.assignment.keys import Keys
from scheduler_server.assignment.tenants import Tenant, Tenants
from scheduler_server.registry.eligibility import ClassKey

if TYPE_CHECKING:
    from scheduler_server.assignment.lineup import LineUp
    from scheduler_server.assignment.waiting import Waiter

_LEAST_VOID = 64

_MOST = 128
"""Tasks in a run before it is sorted and halved, which takes 10 us."""

Place = tuple[float, int, "Waiter"]
"""A task in its lane: its key, its number among equal keys."""

Entry = tuple[float, float, int, "Lane"]
"""Where a lane stands: rank; key and number of its first task, which decide between equal ranks."""

_FEW = 8
"""Lanes in columns up to which a loop over them is faster than numpy, which takes 3 us."""

_INDEX, _FLOAT = np.dtype(np.int64), np.dtype(np.float64)


class Lane:
    """Tasks of which the first is next.

    Invariants: `tasks`, which is sorted, and then each run of `later` hold every placeable task of the lane; `tasks` is
    empty only if there is none; each task of a run is at or after that run's key in `_from`, and before that of the
    next; the lane stands in its group's heap as `entry`, or in its columns at `row`, not at all while it is `blocked`
    or empty.

    `offset` is added to what the tenant has had: a lane that was empty goes on from where the others are, and `tag` is
    its rank when it became empty.
    """

    __slots__ = ("_from", "blocked", "entry", "excluded", "group", "later", "offset", "row", "tag", "tasks", "tenant")

    def __init__(self, group: "Group", excluded: tuple[str, ...], tenant: Tenant | None) -> None:
        self.group = group
        self.excluded = excluded
        self.tenant = tenant
        self.tasks: list[Place] = []
        self.later: list[list[Place]] = []
        self._from = Keys()
        self.entry: Entry | None = None
        self.row = -1
        self.blocked = False
        self.offset = 0.0
        self.tag = 0.0

    def __lt__(self, other: "Lane") -> bool:
        """Entries alike in all else are equal: one is void, of a task that was held back and came again."""
        return False

    def add(self, waiter: "Waiter") -> None:
        """Take in a task."""
        place = (waiter.key, waiter.sequence, waiter)
        tasks = self.tasks
        if self.later:
            at = self._run_of(place)
            if at >= 0:
                run = self.later[at]
                run.append(place)
                if len(run) > _MOST:
                    run.sort()
                    self._halve(at, run)
                return
        insort(tasks, place)
        if len(tasks) > _MOST:
            self._halve(-1, tasks)
        if tasks[0] is place and not self.blocked:
            self.group.enter(self)

    def _run_of(self, place: Place) -> int:
        """Which run of `later` a task belongs to; -1: to none, but to `tasks`."""
        key, number, _ = place
        return self._from.find((key, number + 1)) - 1

    def _halve(self, at: int, run: list[Place]) -> None:
        upper = run[_MOST // 2 :]
        del run[_MOST // 2 :]
        self.later.insert(at + 1, upper)
        self._from.insert(at + 1, upper[0][:2])

    def remove(self, waiter: "Waiter") -> None:
        """Let a task go that is in the lane."""
        tasks, later = self.tasks, self.later
        if tasks[0][2] is waiter:
            del tasks[0]
            if not tasks and later:
                self.tasks = tasks = later.pop(0)
                tasks.sort()
                self._from.delete(0)
            if not tasks:
                self.group.emptied(self)
            elif self.tenant is None:
                self.group.moved_on(self)
            return
        place = (waiter.key, waiter.sequence, waiter)
        at = self._run_of(place)
        run = later[at] if at >= 0 else tasks
        run.remove(place)
        if not run:
            del later[at]
            self._from.delete(at)


class Group:
    """The waiting tasks of one set of needs in one order.

    `count` of them; `owner` is the tenant that it counts for, `held` the wait that they came to.
    """

    __slots__ = (
        "_columns", "_offsets", "_tenants", "_used_at", "blocked", "count", "heap", "held", "home", "index", "lanes",
        "needs", "owner",
    )  # fmt: skip

    def __init__(self, home: "LineUp", needs: ClassKey, index: int, tenants: Tenants) -> None:
        self.home = home
        self.needs = needs
        self.index = index
        self.count = 0
        self.owner: Tenant | None = None
        self.lanes: dict[tuple[tuple[str, ...], str], Lane] = {}
        self.heap: list[Entry] = []
        self.held = Held()
        self.blocked: list[Lane] = []
        self._tenants = tenants
        self._columns: list[Lane] = []
        self._used_at = array("q")  # of these, the slot of their tenant
        self._offsets = array("d")

    def lane(self, excluded: tuple[str, ...], tenant: Tenant | None) -> Lane:
        """The lane of these tasks, made where there is none."""
        key = (excluded, "" if tenant is None else tenant.name)
        lane = self.lanes.get(key)
        if lane is None:
            lane = self.lanes[key] = Lane(self, excluded, tenant)
        return lane

    # ------------------------------------------------------------------ come and go

    def enter(self, lane: Lane) -> None:
        """A lane has another first task, or one again."""
        if lane.tenant is None:
            self._enter_heap(lane)
        elif lane.row < 0:
            lane.row = len(self._columns)
            self._columns.append(lane)
            self._used_at.append(lane.tenant.slot)
            self._offsets.append(lane.offset)

    def leave(self, lane: Lane) -> None:
        """A lane has no task any more that could be next. In the heap, its entry goes when it comes to the top."""
        lane.entry = None
        row = lane.row
        if row >= 0:
            lane.row = -1
            mover, slot, offset = self._columns.pop(), self._used_at.pop(), self._offsets.pop()
            if mover is not lane:
                mover.row = row
                self._columns[row], self._used_at[row], self._offsets[row] = mover, slot, offset

    def _enter_heap(self, lane: Lane) -> None:
        heap, before = self.heap, lane.entry
        entry = _entry(lane)
        if before is not None and heap[0] is before:
            heapreplace(heap, entry)
            return
        heappush(heap, entry)
        if len(heap) > 2 * len(self.lanes) + _LEAST_VOID:
            self.heap = heap = [each for each in heap if each is each[3].entry]
            heapify(heap)

    def moved_on(self, lane: Lane) -> None:
        """The first task of a lane has gone that stands in the heap."""
        heap = self.heap
        if heap and heap[0] is lane.entry:
            heapreplace(heap, _entry(lane))

    def emptied(self, lane: Lane) -> None:
        """A lane has no task any more."""
        self.leave(lane)
        if lane.blocked:
            lane.blocked = False
            self.blocked.remove(lane)
        if lane.tenant is not None:
            lane.tag = lane.tenant.used + lane.offset
        elif lane.excluded:
            del self.lanes[lane.excluded, ""]

    def forget(self, lane: Lane) -> None:
        """Let an empty lane go, and what its tenant has had there."""
        if lane.tenant is not None:
            self.lanes.pop((lane.excluded, lane.tenant.name), None)

    def block(self, lane: Lane) -> None:
        """All workers that are free are ones that this lane excludes: look at it again when another becomes free."""
        self.leave(lane)
        lane.blocked = True
        self.blocked.append(lane)

    def unblock(self) -> None:
        """Another worker has become free."""
        blocked, self.blocked = self.blocked, []
        for lane in blocked:
            lane.blocked = False
            if lane.tasks:
                self.enter(lane)

    # ------------------------------------------------------------------ who is first

    def first(self) -> "tuple[Entry, Waiter] | None":
        """Where the task that is next stands, and the task."""
        if self._columns:
            return self._first_by_tenant()
        heap = self.heap
        while heap:
            entry = heap[0]
            lane = entry[3]
            if entry is not lane.entry:
                heappop(heap)
                continue
            _, number, head = lane.tasks[0]
            if number == entry[2]:
                return entry, head
            heapreplace(heap, _entry(lane))
        return None

    def _first_by_tenant(self) -> "tuple[Entry, Waiter]":
        lanes = self._columns
        if len(lanes) <= _FEW:
            return self._first_of_few()
        ranks = self._tenants.used.take(np.frombuffer(self._used_at, _INDEX))
        ranks += np.frombuffer(self._offsets, _FLOAT)
        at = int(ranks.argmin())
        least, lane = ranks.item(at), lanes[at]
        if ranks[::-1].argmin() != len(lanes) - 1 - at:  # there are others like it
            lane = min((lanes[at] for at in np.flatnonzero(ranks == least).tolist()), key=_head)
        key, number, head = lane.tasks[0]
        return (least, key, number, lane), head

    def _first_of_few(self) -> "tuple[Entry, Waiter]":
        used = self._tenants.used_view
        least, lane = inf, self._columns[0]
        for each, slot, offset in zip(self._columns, self._used_at, self._offsets, strict=True):
            rank = used[slot] + offset
            if rank < least or (rank == least and each.tasks[0] < lane.tasks[0]):
                least, lane = rank, each
        key, number, head = lane.tasks[0]
        return (least, key, number, lane), head


def _head(lane: Lane) -> Place:
    return lane.tasks[0]


def _entry(lane: Lane) -> Entry:
    """Let a lane stand with its first task; where it stood before is void."""
    key, number, _ = lane.tasks[0]
    lane.entry = entry = (key, key, number, lane)
    return entry
