"""What is done to many workers is done in slices, so that no step of the core takes long."""

from collections import deque
from collections.abc import Callable

from scheduler_server.assignment.drain_record import Drain
from scheduler_server.assignment.effects import Effect
from scheduler_server.model.clock import Now

_SLICE = 256
"""Workers looked at in one step."""

CHANGED = 8
"""As how many that are looked at one counts that is changed, and a lease that ends: with what the shell does with the
effects 10 to 30 us, so a step takes about a millisecond."""

Step = Callable[[Now, Drain, str, int, list[Effect]], tuple[int, bool]]
"""Does something to one worker of a drain for at most so much; answers what it cost, and whether all of it is done."""


class _Job:
    __slots__ = ("at", "drain", "names", "step")

    def __init__(self, drain: Drain, names: list[str], step: Step) -> None:
        self.drain, self.names, self.step = drain, names, step
        self.at = 0


class Jobs:
    """First come, first done; a job may add others."""

    def __init__(self) -> None:
        self._jobs: deque[_Job] = deque()

    def __bool__(self) -> bool:
        return bool(self._jobs)

    def add(self, drain: Drain, names: list[str], step: Step) -> None:
        """Do something to these workers of a drain, from the next slice on."""
        self._jobs.append(_Job(drain, names, step))

    def busy(self, drain: Drain) -> bool:
        """Is there still something to be done to its workers?"""
        return any(job.drain is drain for job in self._jobs)

    def slice(self, now: Now, out: list[Effect]) -> list[Drain]:
        """Do some; the drains for which that was the last."""
        done: list[Drain] = []
        left = _SLICE
        while self._jobs and left > 0:
            job = self._jobs[0]
            while job.at < len(job.names) and left > 0:
                cost, over = job.step(now, job.drain, job.names[job.at], left, out)
                left -= cost
                job.at += over
            if job.at >= len(job.names):
                self._jobs.popleft()
                if not self.busy(job.drain):
                    done.append(job.drain)
        return done
