"""The tasks that wait, each in its place: which is next for a slot, and how many are ahead of one?

    lineup.py    those that may be placed, in one order
    renewing.py  another order, a pause, an override: what all of them do then

While another order takes over there are two line-ups: what waits moves from the older one to the other, the oldest
first. Those that have moved go first, in the order that is to be; the others after them, in the one that was.
"""

from collections.abc import Iterator
from math import inf
from typing import TYPE_CHECKING

from scheduler_server.assignment.backlog import Backlog
from scheduler_server.assignment.events import Submit
from scheduler_server.assignment.expected_start import Answer
from scheduler_server.assignment.lanes import Entry, Group, Lane
from scheduler_server.assignment.lineup import LineUp
from scheduler_server.assignment.order import Order
from scheduler_server.assignment.tenants import Tenant, Tenants
from scheduler_server.model.task import Delivery, Prospects
from scheduler_server.registry.eligibility import ClassKey, EligibilityClass
from scheduler_server.registry.fleet import Fleet
from scheduler_server.registry.pool import Pool

if TYPE_CHECKING:
    from scheduler_server.assignment.overrides import Overrides

MOST_GROUPS = 2_048
"""Different sets of needs that may wait at once. Half of the eligibility classes remembered, so that waiting ones do
not push each other out; and a query of position sums over all of them."""


class Waiter:
    """One attempt of one task that waits.

    `since` and the other `*_at` are monotonic seconds, `since_wall` wall seconds. `tickets` are the calls that wait for
    it, by number, with the instants at which they give up; `enqueued` says that it waits without any. It is `placeable`
    while it stands in a group, and not while it is held back by its not_before, or `paused`. `p50_s` and `work_s`
    (median, mean) are its duration as predicted when it began to wait, `allowance_s` what the backlog allowed others
    then: its place in the order rests on them. `edition` is that of the rules (order, pauses,
    overrides) by which it stands, or is held back.
    """

    __slots__ = (
        "allowance_s", "answer", "edition", "enqueued", "event", "expires_at", "gone", "group", "key", "lane", "p50_s",
        "paused", "placeable", "rank_key", "sequence", "since", "since_wall", "tenant", "tickets", "timer_at", "told",
        "work_s",
    )  # fmt: skip

    def __init__(self, event: Submit, now: float, wall: float, sequence: int) -> None:
        self.event = event
        self.since = now
        self.since_wall = wall
        self.sequence = sequence
        self.edition = -1
        self.enqueued = False
        self.expires_at = inf
        self.timer_at = inf  # the instant that is watched for it
        self.tickets: dict[int, float] = {}
        self.p50_s = 0.0
        self.work_s = 0.0
        self.allowance_s = 0.0
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
    """All of them.

    Invariants: `by_task` has each under its tenant and id, `placeable` of them stand in a line-up; between events none
    of these could use a candidate in a pool that is not among the fleet's `opened`. `edition` counts how often the
    rules have changed by which tasks stand; those of an edition before are to be looked at again (`renewing.py`).
    """

    def __init__(self, fleet: Fleet, order: Order, tenants: Tenants) -> None:
        self._fleet = fleet
        self.tenants = tenants
        self.lineup = LineUp(fleet, order, tenants, None)
        self.older: LineUp | None = None
        self.backlog = Backlog()
        self.by_length = False  # are tasks told apart by their lengths too? See LineUp
        self.closing = False  # nothing joins the older one any more: it is about to be empty
        self.edition = 0
        self.latecomers: list[Waiter] = []  # those that came since, and stand in the older one
        self._overrides: Overrides | None = None
        self.by_task: dict[tuple[str, str], Waiter] = {}
        self.placeable = 0
        self.payload_bytes = 0
        self._last_sequence = 0

    def __len__(self) -> int:
        return len(self.by_task)

    @property
    def order(self) -> Order:
        """That in force; while it takes over, for ever more of those that wait."""
        return self.lineup.order

    @property
    def overrides(self) -> "Overrides | None":
        """While there are any."""
        return self._overrides

    @overrides.setter
    def overrides(self, overrides: "Overrides | None") -> None:
        for lineup in self.lineups():
            lineup.overrides = overrides
        self._overrides = overrides

    def lineups(self) -> "tuple[LineUp, ...]":
        """The one in force, and while it takes over the older one."""
        return (self.lineup,) if self.older is None else (self.lineup, self.older)

    @property
    def group_count(self) -> int:
        """Different sets of needs that wait."""
        return max(lineup.used_groups for lineup in self.lineups())

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

    def release(self, waiter: Waiter) -> None:
        """Let a task that is held take its place among the others.

        While another order takes over, one that comes now stands behind those that wait still in the older one.
        """
        needs = self.needs(waiter.event)
        into, older = self.lineup, self.older
        if older is not None and waiter.edition < 0 and not self.closing and older.joins(waiter, needs):
            into = older
            self.latecomers.append(waiter)
        else:
            waiter.edition = self.edition
        waiter.placeable = True
        self.placeable += 1
        into.add(waiter, needs)

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
        group.home.remove(waiter, group, lane)

    def replace(self, waiter: Waiter, event: Submit) -> Waiter:
        """Let a task wait on as this request, which differs from its own only in whom it is to be given to."""
        other = self.new(event, waiter.since, waiter.since_wall)
        for name in (
            "allowance_s",
            "answer",
            "edition",
            "enqueued",
            "expires_at",
            "p50_s",
            "paused",
            "tickets",
            "told",
            "work_s",
        ):
            setattr(other, name, getattr(waiter, name))
        placeable = waiter.placeable
        self.remove(waiter)
        self.hold(other)
        if placeable:
            self.release(other)
        return other

    def misplaced(self, waiter: Waiter) -> bool:
        """Does a placeable task stand where the rules in force would not let it stand?"""
        group = waiter.group
        return group is not None and (
            group.home is not self.lineup
            or group.needs != self.needs(waiter.event)
            or waiter.key != self.lineup.key(waiter)
        )

    def take_over(self, order: Order) -> None:
        """Let another line-up be in force from now on. There must be no older one; what waits is to be moved."""
        self.older, self.lineup = self.lineup, LineUp(self._fleet, order, self.tenants, self._overrides)
        self.lineup.by_length = self.by_length
        self.older.leaving, self.closing = True, False

    # ------------------------------------------------------------------ groups and pools

    def has_group(self, event: Submit) -> bool:
        """Do tasks with the same needs wait?"""
        needs = self.needs(event)
        for lineup in self.lineups():
            group = lineup.group_of(needs)
            if group is not None and group.count > 0:
                return True
        return False

    def needs(self, event: Submit) -> ClassKey:
        """What a task's workers must have: tasks of one answer can use the same slots."""
        if self._overrides is not None:
            return self._overrides.needs(event)
        task = event.task
        return (task.required, task.labels, event.delivery is Delivery.STREAM)

    def groups(self) -> Iterator[Group]:
        """Those that tasks wait in, or did."""
        for lineup in self.lineups():
            yield from lineup.groups()

    def groups_of(self, needs: ClassKey) -> list[Group]:
        """The groups of these needs: one, and while another order takes over maybe two."""
        found = (lineup.group_of(needs) for lineup in self.lineups())
        return [group for group in found if group is not None]

    def eligible(self, waiter: Waiter) -> EligibilityClass | None:
        """The pools that could serve a placeable task; None: it asks for more label keys than can be sorted by."""
        return waiter.group.home.eligible(waiter.group) if waiter.group is not None else None

    def allow(self, waiter: Waiter, now: float) -> None:
        """Say what the backlog that a task comes to allows others. Before it is held."""
        self.backlog.learn(waiter.work_s)
        group = self.lineup.group_of(self.needs(waiter.event))
        if group is None:  # nobody has waited with these needs lately
            return
        eligible = self.lineup.eligible(group)
        slots = self._fleet.capacity_of(eligible.pools)[0] if eligible is not None else 0.0
        work_s = self.lineup.work_for(group)
        waiter.allowance_s = self.backlog.allowance(now, group.held, waiter.work_s, work_s, slots)

    # ------------------------------------------------------------------ who is next

    def opened(self) -> list[Pool]:
        """The pools that became usable since this was last asked, each once. They are to be filled now."""
        lineups = self.lineups()
        for lineup in lineups:
            lineup.reach.current()
        opened = self._fleet.opened
        pools = list(dict.fromkeys(opened)) if len(opened) > 1 else list(opened)
        opened.clear()
        for lineup in lineups:
            lineup.unblock(pools)
        return pools

    def next(self, pools: list[Pool]) -> "tuple[Entry, Waiter] | None":
        """The task that is next for the candidates in these pools, and where it stands; None: none can use them.

        Pools without candidates are taken out of the list.
        """
        found = self.lineup.next(pools)
        if found is None and self.older is not None:
            return self.older.next(pools)
        return found

    def block(self, waiter: Waiter) -> None:
        """It excludes every worker that is free now: pass over it until another becomes free."""
        if waiter.group is not None and waiter.lane is not None:
            waiter.group.home.block(waiter.group, waiter.lane)

    # ------------------------------------------------------------------ how many are ahead

    def ahead(self, waiter: Waiter) -> tuple[int, float]:
        """Tasks before this one that could take the same slots, and the work in slot-seconds that falls on these."""
        group = waiter.group
        if group is None:
            return 0, 0.0
        count, work = group.home.ahead(waiter, group)
        if group.home is not self.lineup:
            more, more_work = self.lineup.ahead_of_others(group)
            count, work = count + more, work + more_work
        return count, work

    def turn(self, waiter: Waiter) -> tuple[bool, float, int]:
        """Where a placeable task stands among all: those with a smaller turn go before it."""
        return waiter.group is not None and waiter.group.home is not self.lineup, *waiter.rank_key

    def compete(self, waiter: Waiter, other: Waiter) -> bool:
        """Could these two, which are placeable, take the same slot?"""
        mine, others = waiter.group, other.group
        if mine is None or others is None:
            return False
        home = mine.home
        if others.home is home:
            alike = home.reach.among(mine.index).alike
            return others.index < len(alike) and bool(alike[others.index])
        common = home.reach.row(mine.index) * others.home.reach.row(others.index)
        return mine.needs == others.needs or bool(common.any())
