"""The machines of a simulation: how many, how large, how fast, and what happens to them."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from scheduler_server.model.calendar import Calendar
from scheduler_server.model.task import Task
from scheduler_server.registry.timetable import OFF, Timetable

WEEK_BEGINS_S = 1_704_067_200.0
"""The wall second at which every simulation begins: Monday, the first of January 2024, at midnight UTC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capability:
    """Something that a share of the machines has and a share of the tasks needs, both 0-1."""

    name: str
    machines: float
    tasks: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetPlan:
    """What a fleet is, before it is made. Spans are seconds.

    `speeds` are given out in turn, so 0.5, 1, 1, 2 is a quarter of each. `mtbf_s` 0: nothing fails. `background_share`
    of the machines have work of others in `background_slots` of their slots (as a share), all of the time, or where
    `background_period_s` is above 0 for stretches of that mean length with rests of the same. Heartbeats arrive
    `heartbeat_delay_s` after they were taken. A `calendar_share` of the machines work by the `calendar`, others always.
    """

    machines: int = 20
    slots: int = 4
    speeds: tuple[float, ...] = (1.0,)
    capabilities: tuple[Capability, ...] = ()
    mtbf_s: float = 0.0
    repair_s: float = 300.0
    background_share: float = 0.0
    background_slots: float = 0.5
    background_period_s: float = 0.0
    heartbeat_s: float = 10.0
    heartbeat_delay_s: float = 0.0
    calendar: Calendar | None = None
    calendar_share: float = 1.0

    @property
    def capacity(self) -> float:
        """Work per second that it can do on average: slots times speed, less others' work and hours off."""
        kept = _marked(self.machines, self.background_share)
        by_hours = _marked(self.machines, self.calendar_share) if self.calendar is not None else frozenset()
        busy = round(self.background_slots * self.slots) * (0.5 if self.background_period_s else 1.0)
        at_work = _share_of_week(self.calendar) if self.calendar is not None else 1.0
        return sum(
            (self.slots - (busy if kind in kept else 0.0))
            * (at_work if kind in by_hours else 1.0)
            * self.speeds[kind % len(self.speeds)]
            for kind in range(self.machines)
        )


class Job:
    """One task on its way. Instants are seconds; `attempt` counts up when a machine fails under it."""

    __slots__ = ("arrived", "attempt", "lease", "number", "started", "task", "told", "wants", "work_s")

    def __init__(self, number: int, arrived: float, work_s: float, task: Task) -> None:
        self.number = number
        self.arrived = arrived
        self.work_s = work_s
        self.task = task
        self.wants: str = ""  # the capability it needs
        self.attempt = 1
        self.started = 0.0
        self.lease = ""  # of the core
        self.told: tuple[float, float] | None = None  # P50 and P90 of its start, when it began to wait


class Machine:
    """One worker as it really is. `unfinished` counts what it was given and has not ended."""

    __slots__ = (
        "background", "busy_s", "can", "counted_from", "index", "name", "on_shift", "present_s", "queue", "running",
        "slots", "speed", "timetable", "unfinished", "up", "up_number", "works_for_others",
    )  # fmt: skip

    def __init__(self, index: int, slots: int, speed: float, can: frozenset[str]) -> None:
        self.index = index
        self.name = f"w{index:04d}"
        self.slots = slots
        self.speed = speed
        self.can = can
        self.up = True
        self.on_shift = True
        self.timetable: Timetable | None = None
        self.up_number = 1  # of its process
        self.background = 0  # slots that others' work takes
        self.works_for_others = 0  # slots that it takes while it does
        self.running: dict[int, Job] = {}
        self.queue: deque[Job] = deque()
        self.unfinished = 0
        self.busy_s = 0.0  # slot-seconds of ours, of tasks that ended, since the first task came
        self.present_s = 0.0
        self.counted_from = 0.0

    @property
    def takes(self) -> bool:
        """May it be given tasks?"""
        return self.up and self.on_shift


def make(plan: FleetPlan, chance: Random) -> list[Machine]:
    """The machines of a plan; `chance` says which of them have what, so that no two seeds favour the same ones."""
    order = list(range(plan.machines))
    chance.shuffle(order)
    has: list[set[str]] = [set() for _ in order]
    for capability in plan.capabilities:
        for at in chance.sample(order, max(1, round(capability.machines * plan.machines))):
            has[at].add(capability.name)
    background = _marked(plan.machines, plan.background_share)
    by_hours = _marked(plan.machines, plan.calendar_share)
    timetable = Timetable(plan.calendar) if plan.calendar is not None else None
    machines = []
    for index, kind in enumerate(order):
        machine = Machine(index, plan.slots, plan.speeds[kind % len(plan.speeds)], frozenset(has[index]))
        if kind in background:
            machine.works_for_others = round(plan.background_slots * plan.slots)
        if kind in by_hours:
            machine.timetable = timetable
        machines.append(machine)
    return machines


def _share_of_week(calendar: Calendar) -> float:
    """Share of the time that its weekly hours are."""
    table = Timetable(calendar)
    step_s, week_s = 300, 604_800
    return sum(table.slots_at(WEEK_BEGINS_S + at) != OFF for at in range(0, week_s, step_s)) * step_s / week_s


def _marked(machines: int, share: float) -> frozenset[int]:
    """So many of so many, evenly apart: with speeds given out in turn, machines of every speed are among them."""
    most = round(share * machines)
    return frozenset(each * machines // most for each in range(most)) if most else frozenset()


def jobs_want(capabilities: Sequence[Capability], chance: Random) -> str:
    """What a task needs: one capability or none."""
    if not capabilities:
        return ""
    drawn = chance.random()
    for capability in capabilities:
        if drawn < capability.tasks:
            return capability.name
        drawn -= capability.tasks
    return ""
