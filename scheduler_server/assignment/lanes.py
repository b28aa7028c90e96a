"""Queues of tasks that stand for the same slots, and which of them is next.

    group    one set of needs (capabilities, labels, delivery); its tasks can use the same pools
    lane     the tasks of one group that exclude the same workers and, where the order goes by tenant, are of one
             tenant; a heap of absolute keys

A group keeps its lanes in a heap by rank: the key of their first task, or, by tenant, what the tenant has had. Ranks
only rise except by a task that comes, which enters the lane again: an entry from before is a lower bound, put right
when it comes to the top.
"""

from heapq import heapify, heappop, heappush, heapreplace
from typing import TYPE_CHECKING

from scheduler_server.assignment.tenants import Tenant
from scheduler_server.registry.eligibility import ClassKey

if TYPE_CHECKING:
    from scheduler_server.assignment.waiting import Waiter

_LEAST_DEAD = 64

Entry = tuple[float, float, int, "Lane"]
"""A lane in its group's heap: rank; key and number of its first task, which decide between equal ranks."""


class Lane:
    """Tasks of which the first is next.

    Invariants: `heap` holds every placeable task of the lane; `dead` counts its other entries; the lane stands in its
    group's heap as `entry`, not at all while it is `blocked` or empty.

    `offset` is added to what the tenant has had: a lane that was empty goes on from where the others are, and `tag` is
    its rank when it became empty.
    """

    __slots__ = ("blocked", "dead", "entry", "excluded", "group", "heap", "offset", "tag", "tenant")

    def __init__(self, group: "Group", excluded: tuple[str, ...], tenant: Tenant | None) -> None:
        self.group = group
        self.excluded = excluded
        self.tenant = tenant
        self.heap: list[tuple[float, int, Waiter]] = []
        self.dead = 0
        self.entry: Entry | None = None
        self.blocked = False
        self.offset = 0.0
        self.tag = 0.0

    def head(self) -> "Waiter | None":
        """The task that is first here."""
        heap = self.heap
        while heap:
            waiter = heap[0][2]
            if waiter.placeable:
                return waiter
            heappop(heap)
            self.dead -= 1
        return None

    def rank(self, head: "Waiter") -> float:
        """Smaller goes first, among the lanes of all groups."""
        return head.key if self.tenant is None else self.tenant.used + self.offset

    def add(self, waiter: "Waiter") -> None:
        """Take in a task."""
        heappush(self.heap, (waiter.key, waiter.sequence, waiter))
        entry = self.entry
        if not self.blocked and (entry is None or self._comes_before(waiter, entry)):
            self.group.enter(self, waiter)

    def _comes_before(self, waiter: "Waiter", entry: Entry) -> bool:
        rank = waiter.key if self.tenant is None else entry[0]  # its tenant's rank cannot have fallen
        return (rank, waiter.key, waiter.sequence) < entry[:3]

    def remove(self, waiter: "Waiter") -> None:
        """Let a task go that is no longer placeable."""
        heap = self.heap
        if heap and heap[0][2] is waiter:
            heappop(heap)
        else:
            self.dead += 1
            if self.dead > _LEAST_DEAD and 2 * self.dead > len(heap):
                self.heap = heap = [entry for entry in heap if entry[2].placeable]
                heapify(heap)
                self.dead = 0
        if len(heap) == self.dead:
            self.group.emptied(self)


class Group:
    """The waiting tasks of one set of needs. `count` of them; `owner` is the tenant that it counts for."""

    __slots__ = ("blocked", "count", "heap", "index", "lanes", "needs", "owner")

    def __init__(self, needs: ClassKey, index: int) -> None:
        self.needs = needs
        self.index = index
        self.count = 0
        self.owner: Tenant | None = None
        self.lanes: dict[tuple[tuple[str, ...], str], Lane] = {}
        self.heap: list[Entry] = []
        self.blocked: list[Lane] = []

    def lane(self, excluded: tuple[str, ...], tenant: Tenant | None) -> Lane:
        """The lane of these tasks, made where there is none."""
        key = (excluded, "" if tenant is None else tenant.name)
        lane = self.lanes.get(key)
        if lane is None:
            lane = self.lanes[key] = Lane(self, excluded, tenant)
        return lane

    def enter(self, lane: Lane, head: "Waiter") -> None:
        """Let a lane stand in the heap with this first task; where it stood before is void."""
        lane.entry = entry = (lane.rank(head), head.key, head.sequence, lane)
        heap = self.heap
        heappush(heap, entry)
        if len(heap) > 2 * len(self.lanes) + _LEAST_DEAD:
            self.heap = heap = [each for each in heap if each is each[3].entry]
            heapify(heap)

    def emptied(self, lane: Lane) -> None:
        """A lane has no task any more. Its entry goes when it comes to the top."""
        lane.heap, lane.dead = [], 0
        lane.entry = None
        if lane.blocked:
            lane.blocked = False
            self.blocked.remove(lane)
        if lane.tenant is None:
            del self.lanes[lane.excluded, ""]
        else:
            lane.tag = lane.tenant.used + lane.offset

    def forget(self, lane: Lane) -> None:
        """Let an empty lane go, and what its tenant has had there."""
        if lane.tenant is not None:
            self.lanes.pop((lane.excluded, lane.tenant.name), None)

    def first(self) -> "tuple[Entry, Waiter] | None":
        """Where the task that is next stands, and the task."""
        heap = self.heap
        while heap:
            entry = heap[0]
            lane = entry[3]
            head = lane.head() if entry is lane.entry else None
            if head is None:
                heappop(heap)
                continue
            if entry[0] == lane.rank(head) and entry[2] == head.sequence:
                return entry, head
            lane.entry = entry = (lane.rank(head), head.key, head.sequence, lane)
            heapreplace(heap, entry)
        return None

    def block(self, lane: Lane) -> None:
        """All workers that are free are ones that this lane excludes: look at it again when another becomes free."""
        lane.entry = None
        lane.blocked = True
        self.blocked.append(lane)

    def unblock(self) -> None:
        """Another worker has become free."""
        blocked, self.blocked = self.blocked, []
        for lane in blocked:
            lane.blocked = False
            head = lane.head()
            if head is not None:
                self.enter(lane, head)
