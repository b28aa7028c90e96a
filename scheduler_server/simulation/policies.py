"""Plain policies to compare with: what is usual without a scheduler that predicts. Simple models, no code of the core.

Four bind at once: a task is sent to a machine when it comes and waits there. One binds late: a single queue that free
slots take from, in order of arrival. All know at once who is up and what they themselves have sent where, which
flatters them: no heartbeat of theirs is ever late.
"""

from collections import deque
from heapq import heapify, heappop, heappush
from math import inf
from random import Random

from scheduler_server.simulation import choosing
from scheduler_server.simulation.engine import Beat, World
from scheduler_server.simulation.fleet import Job, Machine

_SPARE = 64  # outdated entries of a heap that are not worth dropping


class _Plain:
    """What all have in common: no timer and no heartbeat."""

    listens = False
    due_at = inf

    def __init__(self, world: World, chance: Random) -> None:
        self.world = world
        self.chance = chance
        self.able: dict[str, list[Machine]] = {}

    def begin(self, now: float) -> None:
        """See Policy."""
        machines = self.world.machines
        self.able[""] = list(machines)
        for name in {name for machine in machines for name in machine.can}:
            self.able[name] = [machine for machine in machines if name in machine.can]

    def heard(self, now: float, beat: Beat) -> None:
        """It does not listen."""

    def tick(self, now: float) -> None:
        """It has no timer."""


class _AtOnce(_Plain):
    """Sends each task to a machine when it comes; what finds nobody waits for somebody to come back."""

    def __init__(self, world: World, chance: Random) -> None:
        super().__init__(world, chance)
        self._stranded: list[Job] = []
        self._away = False  # has anybody been away?

    def candidates(self, job: Job) -> list[Machine]:
        """Who may have it."""
        able = self.able[job.wants]
        return [machine for machine in able if machine.takes] if self._away else able

    def begin(self, now: float) -> None:
        """See Policy."""
        super().begin(now)
        plan = self.world.plan
        self._away = bool(plan.mtbf_s) or plan.calendar is not None

    def arrive(self, now: float, job: Job) -> None:
        """See Policy."""
        candidates = self.candidates(job)
        if candidates:
            self.world.give(now, job, self.choose(candidates, job))
        else:
            self._stranded.append(job)

    def choose(self, candidates: list[Machine], job: Job) -> Machine:
        """One of them."""
        raise NotImplementedError

    def ended(self, now: float, job: Job, machine: Machine) -> None:
        """See Policy."""

    def down(self, now: float, machine: Machine, lost: list[Job]) -> None:
        """See Policy."""

    def opened(self, now: float, machine: Machine) -> None:
        """See Policy."""
        if machine.takes and self._stranded:
            stranded, self._stranded = self._stranded, []
            for job in stranded:
                self.arrive(now, job)


class RandomChoice(_AtOnce):
    """Anybody."""

    def choose(self, candidates: list[Machine], job: Job) -> Machine:
        """One drawn at random."""
        return choosing.any_one(candidates, self.chance.random)


class RoundRobin(_AtOnce):
    """One after the other, whatever they are busy with."""

    def __init__(self, world: World, chance: Random) -> None:
        super().__init__(world, chance)
        self._turn: dict[str, int] = {}

    def choose(self, candidates: list[Machine], job: Job) -> Machine:
        """The next in turn among those that can do the same."""
        turn = self._turn.get(job.wants, 0)
        self._turn[job.wants] = turn + 1
        return candidates[turn % len(candidates)]


class BestOfTwo(_AtOnce):
    """The emptier of two drawn at random (Mitzenmacher, The Power of Two Choices, 2001)."""

    def choose(self, candidates: list[Machine], job: Job) -> Machine:
        """By tasks sent and not ended, per slot; the first of equals."""
        return choosing.emptier_of_two(candidates, self.chance.random)


class LeastLoaded(_AtOnce):
    """The emptiest of all (join the shortest queue); of equals the one that is next in turn."""

    def __init__(self, world: World, chance: Random) -> None:
        super().__init__(world, chance)
        self._heaped = False  # where nobody comes, goes or is special
        self._by_load: list[tuple[float, int, int, Machine]] = []
        self._sent = 0
        self._stamps: list[int] = []

    def begin(self, now: float) -> None:
        """See Policy."""
        super().begin(now)
        self._heaped = not self._away and len(self.able) == 1
        self._stamps = [0] * len(self.world.machines)
        self._by_load = [(0.0, 0, machine.index, machine) for machine in self.world.machines]
        heapify(self._by_load)

    def choose(self, candidates: list[Machine], job: Job) -> Machine:
        """By tasks sent and not ended, per slot."""
        if not self._heaped:
            return choosing.emptiest(candidates)
        heap = self._by_load
        while True:  # entries that are no longer true are dropped when they come up
            _, stamp, index, machine = heap[0]
            if stamp == self._stamps[index]:
                break
            heappop(heap)
        self._note(machine, 1)
        return machine

    def ended(self, now: float, job: Job, machine: Machine) -> None:
        """See Policy."""
        if self._heaped:
            self._note(machine, 0)

    def _note(self, machine: Machine, more: int) -> None:
        self._sent += 1
        self._stamps[machine.index] = self._sent
        heap = self._by_load
        if len(heap) > 4 * len(self._stamps) + _SPARE:
            heap[:] = [entry for entry in heap if entry[1] == self._stamps[entry[2]]]
            heapify(heap)
        heappush(heap, ((machine.unfinished + more) / machine.slots, self._sent, machine.index, machine))


class CentralFifo(_Plain):
    """One queue for all, in order of arrival; a free slot takes the first that it can serve.

    Of several free machines the one that has been free for longest. It knows neither durations nor speeds.
    """

    def __init__(self, world: World, chance: Random) -> None:
        super().__init__(world, chance)
        self._queues: dict[str, deque[Job]] = {}
        self._free: dict[int, Machine] = {}  # with room, longest free first

    def begin(self, now: float) -> None:
        """See Policy."""
        super().begin(now)
        self._queues = {name: deque() for name in sorted(self.able)}
        for machine in self.world.machines:
            self._look(machine)

    def arrive(self, now: float, job: Job) -> None:
        """See Policy."""
        for machine in self._free.values():
            if not job.wants or job.wants in machine.can:
                self._give(now, job, machine)
                return
        self._queues[job.wants].append(job)

    def ended(self, now: float, job: Job, machine: Machine) -> None:
        """See Policy."""
        self._fill(now, machine)

    def down(self, now: float, machine: Machine, lost: list[Job]) -> None:
        """See Policy."""
        self._free.pop(machine.index, None)

    def opened(self, now: float, machine: Machine) -> None:
        """See Policy."""
        self._fill(now, machine)

    def _fill(self, now: float, machine: Machine) -> None:
        while self._room(machine) and (first := self._first(machine)) is not None:
            self.world.give(now, first, machine)
        self._look(machine)

    def _first(self, machine: Machine) -> Job | None:
        """The one that came first among those that this machine can do."""
        found: deque[Job] | None = None
        for name, queue in self._queues.items():
            if queue and (not name or name in machine.can) and (found is None or queue[0].number < found[0].number):
                found = queue
        return found.popleft() if found is not None else None

    def _give(self, now: float, job: Job, machine: Machine) -> None:
        self.world.give(now, job, machine)
        self._free.pop(machine.index)
        self._look(machine)

    @staticmethod
    def _room(machine: Machine) -> bool:
        return machine.takes and len(machine.running) + machine.background < machine.slots and not machine.queue

    def _look(self, machine: Machine) -> None:
        if self._room(machine):
            self._free.setdefault(machine.index, machine)
        else:
            self._free.pop(machine.index, None)


PLAIN: dict[str, type[RandomChoice | RoundRobin | BestOfTwo | LeastLoaded | CentralFifo]] = {
    "random": RandomChoice,
    "round_robin": RoundRobin,
    "p2c": BestOfTwo,
    "least_loaded": LeastLoaded,
    "central_fifo": CentralFifo,
}
