"""What a waiting task can be told: its position, when it will start, and what keeps it from starting now."""

from scheduler_server.assignment import explanation, off_shift
from scheduler_server.assignment.expected_start import ExpectedStarts
from scheduler_server.assignment.pauses import Pauses
from scheduler_server.assignment.placement import Placement
from scheduler_server.assignment.stretching import Filling, Stretching, stretch
from scheduler_server.assignment.waiting import Waiter, WaitingTasks
from scheduler_server.model.clock import Now
from scheduler_server.model.decision import Rejection
from scheduler_server.model.making import make
from scheduler_server.model.refusal import Reason, Refusal
from scheduler_server.model.task import BlockingReason, Prospects
from scheduler_server.registry.eligibility import EligibilityClass
from scheduler_server.registry.fleet import Fleet

_TAKEN = BlockingReason.NO_FREE_SLOT

_PAUSED = "an operator paused it"
_RESUMED = "an operator paused it, and lets it go on now: it takes its place again within moments"
_REORDERED = "the queue is being reordered, and its place may change within moments"

_LEAST_SLOTS = 0.5
"""Slots are whole, and their sum is an estimate."""

_NOTHING = (0.0, 0.0, 0)

_LEAVING = "the shifts of those who are free end before it would"


class Outlook:
    """Answers about waiting tasks; changes nothing but the answers that are to be judged."""

    def __init__(
        self, fleet: Fleet, waiting: WaitingTasks, expected: ExpectedStarts, placement: Placement, pauses: Pauses
    ) -> None:
        self._fleet = fleet
        self._waiting = waiting
        self._expected = expected
        self._placement = placement
        self._pauses = pauses
        self._stretching = Stretching(fleet.agenda)

    def prospects(self, now: Now, waiter: Waiter) -> Prospects:
        """See the module's docstring."""
        return self._look(now, waiter, keep=False)

    def promise(self, now: Now, waiter: Waiter, *, brief: bool = False) -> Prospects:
        """The same for a task that takes its place now; the answer is kept with it, to be judged.

        With `brief`, why nobody could take it is not worked out: that is for whoever asks.
        """
        return self._look(now, waiter, keep=True, brief=brief)

    def _look(self, now: Now, waiter: Waiter, *, keep: bool, brief: bool = False) -> Prospects:
        task = waiter.event.task
        group = waiter.group
        behind = waiter.edition != self._waiting.edition  # the rules have changed since it was looked at
        if waiter.paused or (behind and self._pauses.scopes and self._pauses.covers(task)):
            detail = _PAUSED if not behind or self._pauses.covers(task) else _RESUMED
            return Prospects(0, None, None, BlockingReason.PAUSED, detail, now.wall, 0, None)
        if not waiter.placeable or group is None:
            due = task.not_before or now.wall
            detail = f"its not_before, {due:.3f}, has not come"
            return Prospects(0, due, due, BlockingReason.NOT_YET_DUE, detail, now.wall, 0, None)
        position, work = self._waiting.ahead(waiter)
        overrides = self._placement.overrides
        held = "" if overrides is None else overrides.holds(group.needs)
        if held:
            return Prospects(position, None, None, BlockingReason.OVERRIDE, held, now.wall, 0, None)
        eligible = group.home.eligible(group)
        slots, work_there, running = self._fleet.capacity_of(eligible.pools) if eligible is not None else _NOTHING
        if slots >= _LEAST_SLOTS and not task.excluded:
            blocking, detail = _TAKEN, f"all {slots:.0f} slots that could take it are taken"
        elif brief and slots < _LEAST_SLOTS:
            blocking, detail = BlockingReason.NO_ELIGIBLE_WORKER_NOW, ""
        else:
            blocking, detail = self._blocking(now, waiter, eligible, slots)
        turns = None
        if self._fleet.agenda.used and eligible is not None:
            turns = self._stretching.turns_of(eligible, self._fleet.moves)
            turns = turns if len(turns.at) else None
            if blocking is _TAKEN and self._placement.within is not None and _some_free(eligible):
                blocking, detail, slots = BlockingReason.NO_ELIGIBLE_WORKER_NOW, _LEAVING, 0.0
        if self._waiting.older is not None or behind:
            detail = f"{detail}; {_REORDERED}"
        monotonic, wall = now
        if blocking is not _TAKEN and (turns is None or blocking is not BlockingReason.NO_ELIGIBLE_WORKER_NOW):
            return Prospects(position, None, None, blocking, detail, wall, 0, None)
        residual = work_there / running if running else self._placement.mean_ms / 1e3
        if turns is None:
            expected, size = self._expected.expect(group.needs, work, residual, slots)
        else:
            filling = Filling(turns, slots, wall)
            usual = slots if slots >= _LEAST_SLOTS else filling.usual()
            if slots < _LEAST_SLOTS:
                residual = 0.0  # nobody works: the first task starts when somebody comes
            expected, size = self._expected.expect(group.needs, work, residual, usual)
            stretched = stretch(expected, filling, wall, usual)
            if stretched is None:
                return Prospects(position, None, None, blocking, detail, wall, 0, None)
            expected = stretched
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
        if usable < _LEAST_SLOTS and eligible is not None and off_shift.nobody_on_shift(eligible):
            coming = off_shift.next_shift(self._fleet, eligible, task.excluded)
            return BlockingReason.NO_ELIGIBLE_WORKER_NOW, off_shift.told(coming)
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


def _some_free(eligible: EligibilityClass) -> bool:
    return any(pool.counts[Rejection.CANDIDATE] for pool in eligible.pools)
