"""What a waiting task can be told: its position, when it will start, and what keeps it from starting now."""

from scheduler_server.assignment import explanation
from scheduler_server.assignment.expected_start import ExpectedStarts
from scheduler_server.assignment.placement import Placement
from scheduler_server.assignment.waiting import Waiter, WaitingTasks
from scheduler_server.model.clock import Now
from scheduler_server.model.making import make
from scheduler_server.model.refusal import Reason, Refusal
from scheduler_server.model.task import BlockingReason, Prospects
from scheduler_server.registry.eligibility import EligibilityClass
from scheduler_server.registry.fleet import Fleet

_TAKEN = BlockingReason.NO_FREE_SLOT

_LEAST_SLOTS = 0.5
"""Slots are whole, and their sum is an estimate."""

_NOTHING = (0.0, 0.0, 0)


class Outlook:
    """Answers about waiting tasks; changes nothing but the answers that are to be judged."""

    def __init__(self, fleet: Fleet, waiting: WaitingTasks, expected: ExpectedStarts, placement: Placement) -> None:
        self._fleet = fleet
        self._waiting = waiting
        self._expected = expected
        self._placement = placement

    def prospects(self, now: Now, waiter: Waiter) -> Prospects:
        """See the module's docstring."""
        return self._look(now, waiter, keep=False)

    def promise(self, now: Now, waiter: Waiter) -> Prospects:
        """The same for a task that takes its place now; the answer is kept with it, to be judged."""
        return self._look(now, waiter, keep=True)

    def _look(self, now: Now, waiter: Waiter, *, keep: bool) -> Prospects:
        task = waiter.event.task
        group = waiter.group
        if waiter.paused:
            return Prospects(0, None, None, BlockingReason.PAUSED, "an operator paused it", now.wall, 0, None)
        if not waiter.placeable or group is None:
            due = task.not_before or now.wall
            detail = f"its not_before, {due:.3f}, has not come"
            return Prospects(0, due, due, BlockingReason.NOT_YET_DUE, detail, now.wall, 0, None)
        position, work = self._waiting.ahead(waiter)
        overrides = self._placement.overrides
        held = "" if overrides is None else overrides.holds(group.needs)
        if held:
            return Prospects(position, None, None, BlockingReason.OVERRIDE, held, now.wall, 0, None)
        eligible = self._waiting.reach.eligible(group.index)
        slots, work_there, running = self._fleet.capacity_of(eligible.pools) if eligible is not None else _NOTHING
        if slots >= _LEAST_SLOTS and not task.excluded:
            blocking, detail = _TAKEN, f"all {slots:.0f} slots that could take it are taken"
        else:
            blocking, detail = self._blocking(now, waiter, eligible, slots)
        monotonic, wall = now
        if blocking is not _TAKEN:
            return Prospects(position, None, None, blocking, detail, wall, 0, None)
        residual = work_there / running if running else self._placement.mean_ms / 1e3
        expected, size = self._expected.expect(group.needs, work, residual, slots)
        if keep:
            waiter.answer = self._expected.promise(monotonic, group.needs, size, expected)
        p50_s, p90_s, samples, coverage = expected
        told: Prospects = make(
            Prospects, (position, wall + p50_s, wall + p90_s, blocking, detail, wall, samples, coverage)
        )
        return told

    def _blocking(
        self, now: Now, waiter: Waiter, eligible: EligibilityClass | None, slots: float
    ) -> tuple[BlockingReason, str]:
        """What keeps it from starting now; `slots` of workers that could take it may be used."""
        task = waiter.event.task
        able = sum(len(pool.members) for pool in eligible.pools) if eligible is not None else 0
        usable = slots
        if task.excluded and eligible is not None:
            for worker_id in task.excluded:
                record = self._fleet.records.get(worker_id)
                if record is not None and eligible.serves(record.pool):
                    able -= 1
                    if not record.barred:
                        usable -= record.slots
        if not len(self._fleet):
            return BlockingReason.NO_ELIGIBLE_WORKER_NOW, "no worker is registered yet"
        if not able and eligible is not None and any(pool.members for pool in eligible.pools):
            return BlockingReason.NO_WORKER_COULD_EVER, "every worker that could take it is excluded by the task"
        if not able:
            if eligible is not None and self._placement.remembers(now, eligible):
                detail = "workers that could take it were known before the restart and are not back yet"
                return BlockingReason.NO_ELIGIBLE_WORKER_NOW, detail
            return BlockingReason.NO_WORKER_COULD_EVER, explanation.never(waiter.event, eligible, self._fleet)
        if usable < _LEAST_SLOTS:
            return BlockingReason.NO_ELIGIBLE_WORKER_NOW, "no worker that could take it may be used now"
        return _TAKEN, f"all {usable:.0f} slots that could take it are taken"

    def gave_up(self, now: Now, waiter: Waiter) -> Refusal:
        """The refusal for a call that has waited for as long as it wanted."""
        where = self.prospects(now, waiter)
        task = waiter.event.task
        about = [("task_id", task.task_id), ("position", str(where.position))]
        retry_s = None
        message = f"task {task.task_id!r} was not placed while its call waited: {where.detail}; {where.position} ahead"
        if where.start_p50 is not None:
            retry_s = max(0.0, where.start_p50 - now.wall)
            about.append(("expected_start", f"{where.start_p50:.3f}"))
        return Refusal(Reason.WAIT_OVER, message, tuple(about), where.blocking, retry_after_s=retry_s, waiting=where)
