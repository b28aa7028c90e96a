"""The virtual clock: tasks come, machines work, fail and beat, and a policy says who gets what.

A heap of instants. Nothing here knows how a policy decides, and no policy knows more than it is told: what it was told
when, with heartbeats late or lost in a failure, is the point of simulating at all.
"""

from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from itertools import count
from math import inf
from random import Random
from typing import Any, NamedTuple, Protocol

from scheduler_server.registry.timetable import OFF
from scheduler_server.simulation.fleet import WEEK_BEGINS_S, FleetPlan, Job, Machine, jobs_want, make
from scheduler_server.simulation.pieces import Piece

BEGIN_S = 1_000.0
"""The clock's first second: 0 stands for "never" in places."""

WALL_S = WEEK_BEGINS_S - BEGIN_S
"""Added to the clock for wall time."""

MOST_UNFINISHED = 200_000
"""Tasks that may wait at once. Beyond that a policy does not keep up with the load: the run is stopped and says so,
instead of filling the memory."""

_IDLE_KEPT_S = 600.0
"""Of a longer stretch in which nothing runs, waits or comes, so much is lived through; the rest is passed over."""

_WEEK_S = 604_800.0  # what is passed over where shifts depend on the hour

_STALLED_AFTER = 2_000_000
"""Events without a start or an end, while tasks wait, after which nothing will ever start."""

_PROGRESS_EVERY = 2_000

_END, _BEAT, _HEARD, _EARLIER, _FAIL, _REPAIR, _BACKGROUND, _SHIFT = range(8)


class Stalled(Exception):
    """Tasks wait, and nothing will ever start them; one line."""


class Beat(NamedTuple):
    """What a machine said of itself `at` a second. `running` has job and second of start (None: not begun)."""

    at: float
    machine: Machine
    up_number: int
    busy: int
    background: int
    unfinished: int
    running: tuple[tuple[Job, float | None], ...]


def beat_of(now: float, machine: Machine) -> Beat:
    """What a machine says of itself now."""
    running = [(job, job.started) for job in machine.running.values()]
    waiting = [(job, None) for job in machine.queue]
    held = (*running, *waiting)
    return Beat(now, machine, machine.up_number, len(running), machine.background, machine.unfinished, held)


class Policy(Protocol):
    """Who gets what, when. It answers by `World.give`, at once or later, once for each task and attempt."""

    listens: bool
    """Does it want heartbeats?"""

    due_at: float
    """When it wants a `tick`, whatever else happens; infinity for never."""

    def begin(self, now: float) -> None:
        """The machines are there; nothing has come yet."""

    def arrive(self, now: float, job: Job) -> None:
        """A task has come, or comes again after its machine failed."""

    def ended(self, now: float, job: Job, machine: Machine) -> None:
        """A task has ended; its machine has already gone on with what waits on it."""

    def down(self, now: float, machine: Machine, lost: list[Job]) -> None:
        """A machine has failed, and these were on it. They arrive again right after this."""

    def opened(self, now: float, machine: Machine) -> None:
        """A machine is there (again), or has room that it did not have; or it takes no more for now."""

    def heard(self, now: float, beat: Beat) -> None:
        """A heartbeat has come, however old."""

    def tick(self, now: float) -> None:
        """`due_at` has come."""


class Watcher(Protocol):
    """Who measures."""

    def ended(self, now: float, job: Job, machine: Machine) -> None:
        """A task has ended for good."""


class World:
    """One run. `run` answers when all tasks have ended, or too many wait (`overflowed`).

    Invariants: a machine runs at most its slots, less what is taken in the background when a task starts;
    `unfinished` tasks have come and not ended.
    """

    def __init__(
        self,
        plan: FleetPlan,
        pieces: Iterator[Piece],
        watcher: Watcher,
        seed: str,
        *,
        progress: Callable[[int], None] = lambda _tasks: None,
    ) -> None:
        self.plan = plan
        self.machines = make(plan, Random(f"{seed}/fleet"))  # noqa: S311 -- simulated, and the same again from its seed
        self.unfinished = 0
        self.impossible = 0  # tasks that need what no machine has
        self.refused = 0
        self.ended = 0
        self.failures = 0
        self.skipped_s = 0.0  # of stretches in which nothing happened
        self.overflowed = False
        self.first_s: float | None = None
        self.last_arrival_s = BEGIN_S
        self.last_end_s = BEGIN_S
        self._watcher = watcher
        self._progress = progress
        self._pieces = pieces
        self._seed = seed
        self._heap: list[tuple[float, int, int, Machine, Any, int]] = []
        self._order = count()
        self._counting = False  # is how busy machines are measured now?
        self._still = 0  # events since something last moved
        self._needs = Random(f"{seed}/needs")  # noqa: S311
        self._fate = Random(f"{seed}/failures")  # noqa: S311
        self._others = Random(f"{seed}/background")  # noqa: S311

    # ------------------------------------------------------------------ what a policy does

    def give(self, now: float, job: Job, machine: Machine) -> None:
        """Let a machine have a task: it starts where there is room, and waits there otherwise."""
        machine.unfinished += 1
        if machine.up and len(machine.running) + machine.background < machine.slots and machine.on_shift:
            self._start(now, job, machine)
        else:
            machine.queue.append(job)

    def refuse(self, job: Job) -> None:
        """The policy does not take this task at all."""
        self.refused += 1
        self.unfinished -= 1

    # ------------------------------------------------------------------ the clock

    def run(self, policy: Policy) -> None:
        """Until the last task has ended. Raises Stalled."""
        heap = self._heap
        self._policy = policy
        self._prepare(policy)
        policy.begin(BEGIN_S)
        jobs = self._jobs()
        job = next(jobs, None)
        while True:
            at = job.arrived - self.skipped_s if job is not None else inf
            first = heap[0][0] if heap else inf
            due = policy.due_at
            if due < at and due < first:
                policy.tick(due)
                if policy.due_at <= due:
                    self._still += 1
                continue
            if job is not None and at < first:
                self._come(at, job)
                if self.unfinished > MOST_UNFINISHED:
                    self.overflowed = True
                    break
                job = next(jobs, None)
                if job is None:
                    self._close_window(at)
                elif not self.unfinished:
                    self._pass_over(at, job)
                continue
            if job is None and not self.unfinished:
                break
            now, _, kind, machine, subject, number = heappop(heap)
            self._HANDLERS[kind](self, now, machine, subject, number)
            self._still += 1
            if kind == _END and job is not None and not self.unfinished:
                self._pass_over(now, job)
            if self._still > _STALLED_AFTER:
                raise Stalled(f"{self.unfinished:,} tasks wait, and nothing starts them")
        self._progress(self.ended + self.impossible + self.refused)

    def _jobs(self) -> Iterator[Job]:
        capabilities = self.plan.capabilities
        known = {name for machine in self.machines for name in machine.can}
        for number, (at, work_s, task) in enumerate(self._pieces):
            job = Job(number, BEGIN_S + at, work_s, task)
            if capabilities:
                job.wants = jobs_want(capabilities, self._needs)
                if job.wants and job.wants not in known:
                    self.impossible += 1
                    continue
            yield job

    def _come(self, now: float, job: Job) -> None:
        job.arrived = now
        if self.first_s is None:
            self.first_s = now
            self._counting = True
            for machine in self.machines:
                machine.counted_from = now
        self.last_arrival_s = now
        self.unfinished += 1
        self._policy.arrive(now, job)

    def _pass_over(self, now: float, job: Job) -> None:
        """Nothing runs and nothing waits: be soon at the next arrival."""
        rest = job.arrived - self.skipped_s - now - _IDLE_KEPT_S
        if rest > 0.0:
            self.skipped_s += rest if self.plan.calendar is None else rest // _WEEK_S * _WEEK_S

    def _prepare(self, policy: Policy) -> None:
        plan = self.plan
        for machine in self.machines:
            if policy.listens:
                first = plan.heartbeat_s * (machine.index + 1) / len(self.machines)
                self._push(BEGIN_S + first, _BEAT, machine, None, machine.up_number)
                if plan.heartbeat_delay_s:
                    self._push(BEGIN_S + first, _EARLIER, machine, None, machine.up_number)
            if plan.mtbf_s:
                self._push(BEGIN_S + self._fate.expovariate(1.0 / plan.mtbf_s), _FAIL, machine, None, 0)
            if machine.works_for_others:
                if plan.background_period_s:
                    machine.background = machine.works_for_others if self._others.random() < 0.5 else 0  # noqa: PLR2004 -- even
                    self._push(self._until_background(BEGIN_S), _BACKGROUND, machine, None, 0)
                else:
                    machine.background = machine.works_for_others
            if machine.timetable is not None:
                self._turn(BEGIN_S, machine)

    def _push(self, at: float, kind: int, machine: Machine, subject: Job | Beat | None, number: int) -> None:
        heappush(self._heap, (at, next(self._order), kind, machine, subject, number))

    # ------------------------------------------------------------------ machines at work

    def _start(self, now: float, job: Job, machine: Machine) -> None:
        job.started = now
        machine.running[job.number] = job
        self._still = 0
        heappush(self._heap, (now + job.work_s / machine.speed, next(self._order), _END, machine, job, job.attempt))

    def _end(self, now: float, machine: Machine, job: Job, attempt: int) -> None:
        if job.attempt != attempt:
            return  # its machine failed meanwhile
        del machine.running[job.number]
        if self._counting:
            machine.busy_s += now - max(job.started, machine.counted_from)
        machine.unfinished -= 1
        if machine.queue:
            self._go_on(now, machine)
        self.unfinished -= 1
        self.ended += 1
        self.last_end_s = now
        self._watcher.ended(now, job, machine)
        self._policy.ended(now, job, machine)
        if not self.ended % _PROGRESS_EVERY:
            self._progress(self.ended)

    def _go_on(self, now: float, machine: Machine) -> None:
        queue = machine.queue
        while queue and machine.takes and len(machine.running) + machine.background < machine.slots:
            self._start(now, queue.popleft(), machine)

    def _close_window(self, now: float) -> None:
        """The last task has come: how busy machines are is measured up to here, for what follows is only the rest."""
        for machine in self.machines:
            self._count(now, machine)
        self._counting = False

    def _count(self, now: float, machine: Machine) -> None:
        """Take in how busy a machine has been until now with what it runs."""
        if machine.up:
            machine.busy_s += sum(now - max(job.started, machine.counted_from) for job in machine.running.values())
            machine.present_s += now - machine.counted_from
        machine.counted_from = now

    # ------------------------------------------------------------------ what happens to machines

    def _fail(self, now: float, machine: Machine, _subject: None, _number: int) -> None:
        self.failures += 1
        if self._counting:
            self._count(now, machine)
        machine.up = False
        lost = [*machine.running.values(), *machine.queue]
        machine.running.clear()
        machine.queue.clear()
        machine.unfinished = 0
        for job in lost:
            job.attempt += 1
        self._policy.down(now, machine, lost)
        for job in lost:
            self._policy.arrive(now, job)
        self._push(now + self._fate.expovariate(1.0 / self.plan.repair_s), _REPAIR, machine, None, 0)

    def _repair(self, now: float, machine: Machine, _subject: None, _number: int) -> None:
        machine.up = True
        machine.up_number += 1
        machine.counted_from = now
        self._push(now + self._fate.expovariate(1.0 / self.plan.mtbf_s), _FAIL, machine, None, 0)
        if self._policy.listens:
            self._push(now + self.plan.heartbeat_s, _BEAT, machine, None, machine.up_number)
        self._policy.opened(now, machine)

    def _background(self, now: float, machine: Machine, _subject: None, _number: int) -> None:
        machine.background = 0 if machine.background else machine.works_for_others
        self._push(self._until_background(now), _BACKGROUND, machine, None, 0)
        if not machine.background:
            self._go_on(now, machine)
        self._policy.opened(now, machine)

    def _until_background(self, now: float) -> float:
        return now + self._others.expovariate(1.0 / self.plan.background_period_s)

    def _shift(self, now: float, machine: Machine, _subject: None, _number: int) -> None:
        self._turn(now, machine)
        self._go_on(now, machine)
        self._policy.opened(now, machine)

    def _turn(self, now: float, machine: Machine) -> None:
        """Let a machine be at work or off, as its hours say, until they say otherwise."""
        timetable = machine.timetable
        if timetable is not None:
            machine.on_shift = timetable.slots_at(WALL_S + now) != OFF
            at = timetable.next_turn(WALL_S + now) - WALL_S
            if at < inf:
                self._push(max(at, now), _SHIFT, machine, None, 0)

    # ------------------------------------------------------------------ heartbeats

    def _beat(self, now: float, machine: Machine, _subject: None, number: int) -> None:
        if not machine.up or number != machine.up_number:
            return
        beat = beat_of(now, machine)
        delay = self.plan.heartbeat_delay_s
        if delay:
            self._push(now + delay, _HEARD, machine, beat, number)
        else:
            self._policy.heard(now, beat)
        self._push(now + self.plan.heartbeat_s, _BEAT, machine, None, number)

    def _hear_earlier(self, now: float, machine: Machine, _subject: None, number: int) -> None:
        """What was sent before the begin and is on its way still: a machine that was idle."""
        sent_at = now - self.plan.heartbeat_delay_s
        if sent_at < BEGIN_S and number == machine.up_number and machine.up:
            self._policy.heard(now, Beat(sent_at, machine, number, 0, machine.background, 0, ()))
            self._push(now + self.plan.heartbeat_s, _EARLIER, machine, None, number)

    def _hear(self, now: float, machine: Machine, beat: Beat, number: int) -> None:
        if number == machine.up_number and machine.up:  # what an earlier process said is lost with its connection
            self._policy.heard(now, beat)

    _HANDLERS: tuple[Callable[..., None], ...] = (
        _end,
        _beat,
        _hear,
        _hear_earlier,
        _fail,
        _repair,
        _background,
        _shift,
    )
