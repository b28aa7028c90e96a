"""A year of people's hours, in three time zones, across all their changes of the clock: nobody starts a task outside.

The real core on a virtual clock, with workers that behave as workers do: they acknowledge, start what they have a slot
for, hold what they have none for, start that when one ends, and give back what they are asked for. Hours are judged by
a plain second version that shares no code with the server: it looks at the clock on the wall.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from itertools import count
from random import Random
from zoneinfo import ZoneInfo

import pytest

from scheduler_server.assignment.effects import AskBack, Effect, Granted, HandOver, Recall
from scheduler_server.assignment.events import Heartbeat, ReportOutcome, Submit, Tick
from scheduler_server.assignment.settings import CoreSettings
from scheduler_server.model.calendar import Absence, Calendar, WorkingHours
from scheduler_server.model.outcome import Outcome, OutcomeStatus
from scheduler_server.model.task import Delivery, Task
from scheduler_server.model.worker import LeaseReport, Registration, ReportKind, RunningLease
from scheduler_server.registry.settings import WorkerSettings
from scheduler_server.rpc.zones import zone_of
from tests.unit.assignment.rig import WALL_S, Rig, make_sample

BERLIN, NEW_YORK, SYDNEY = "Europe/Berlin", "America/New_York", "Australia/Sydney"
WEEKDAYS, EVERY_DAY = (1, 2, 3, 4, 5), (1, 2, 3, 4, 5, 6, 7)
DAY_S, HOUR_S = 86_400.0, 3_600.0
BEGINS, ENDS = (datetime(2026, 1, 1, tzinfo=UTC).timestamp(), datetime(2027, 1, 1, tzinfo=UTC).timestamp())

CHANGES = {
    BERLIN: ("2026-03-29", "2026-10-25"),
    NEW_YORK: ("2026-03-08", "2026-11-01"),
    SYDNEY: ("2026-04-05", "2026-10-04"),
}
"""The local days on which clocks change."""


def absence(zone: str, start: str, end: str) -> Absence:
    first, last = (datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() for text in (start, end))
    return Absence(first, last)


HOURS: dict[str, tuple[str, tuple[WorkingHours, ...], tuple[Absence, ...]]] = {
    "berlin-office": (
        BERLIN,
        (WorkingHours(WEEKDAYS, 9 * 60, 12 * 60 + 30), WorkingHours(WEEKDAYS, 13 * 60 + 30, 17 * 60)),
        (
            absence(BERLIN, "2026-07-06T00:00", "2026-07-27T00:00"),
            absence(BERLIN, "2026-12-24T12:00", "2027-01-04T00:00"),
        ),
    ),
    "berlin-night": (BERLIN, (WorkingHours(EVERY_DAY, 22 * 60, 150), WorkingHours(EVERY_DAY, 165, 5 * 60, 1)), ()),
    "york-night": (NEW_YORK, (WorkingHours(EVERY_DAY, 22 * 60, 6 * 60),), ()),
    "york-early": (
        NEW_YORK,
        (WorkingHours((1, 3, 5, 7), 150, 10 * 60),),
        (absence(NEW_YORK, "2026-02-02T05:00", "2026-02-05T03:15"),),
    ),
    "sydney-office": (SYDNEY, (WorkingHours(WEEKDAYS, 8 * 60, 18 * 60),), ()),
    "sydney-weekend": (SYDNEY, (WorkingHours((6, 7), 0, 1_440), WorkingHours((5,), 20 * 60, 24 * 60)), ()),
}


def works(worker_id: str, at: float) -> bool:
    """Is this instant within its hours, by the clock on its wall? One that goes back stands still until it is right."""
    zone_name, hours, absences = HOURS[worker_id]
    if any(start <= at < end for start, end, _ in absences):
        return False
    zone = ZoneInfo(zone_name)
    local = datetime.fromtimestamp(at, zone).replace(tzinfo=None)
    earlier = [datetime.fromtimestamp(at - minutes * 60.0, zone).replace(tzinfo=None) for minutes in (60, 90, 120, 180)]
    if earlier[-1] != local - timedelta(hours=3):  # a change of the clock: what has it shown lately?
        shown = (datetime.fromtimestamp(at - 30.0 * step, zone).replace(tzinfo=None) for step in range(480))
        latest = max(shown)
        if latest > local:  # it stands still, just before the hour that comes again
            local = latest.replace(second=59)
    for days, start, end, _ in hours:
        for back in (0, 1):
            day = (local - timedelta(days=back)).replace(hour=0, minute=0, second=0, microsecond=0)
            minutes = (local - day) / timedelta(minutes=1)
            if day.isoweekday() in days and start <= minutes < (end if end > start else end + 1_440):
                return True
    return False


class Desk:
    """One worker as it behaves: what it runs, and what it holds until it has a slot."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.running: dict[str, float] = {}
        self.held: list[str] = []


class Year:
    """The run. Time goes from one thing that happens to the next."""

    def __init__(self, seed: int, within_shift: str) -> None:
        health = CoreSettings().health
        month = 30 * DAY_S
        settings = CoreSettings(
            # Workers beat once a day: this is about their hours, not about their hearts.
            health=replace(health, healthy_within_s=month, unhealthy_after_s=month, remove_after_s=month),
            worker=WorkerSettings(
                probe_interval_s=None,
                lost_track_after_s=30 * DAY_S,
                reconcile_grace_s=30 * DAY_S,
                within_shift=within_shift,
            ),
        )
        self.rig = Rig(settings)
        self.rig.t += BEGINS - WALL_S
        self.chance = Random(seed)
        self.desks: dict[str, Desk] = {}
        self.starts: list[tuple[str, float]] = []
        self.ends: list[tuple[str, float]] = []  # of tasks that fit into a shift
        self.handed_back = 0
        self._due: list[tuple[float, int, str, str]] = []
        self._tie = count()
        self._stream: set[str] = set()
        for number, (worker_id, (zone, hours, absences)) in enumerate(HOURS.items()):
            calendar = Calendar(zone_of(zone, BEGINS), hours, absences)
            by_stream = number % 2 == 0
            registration = Registration(
                slots=2, reports_outcomes=True, accepts_tasks=by_stream, prefetch=1 if by_stream else None,
                calendar=calendar, labels=(("hands", "stream" if by_stream else "caller"),),
            )  # fmt: skip
            self.desks[worker_id] = Desk(2)
            if by_stream:
                self._stream.add(worker_id)
            self.rig.connect(worker_id, epoch=("boot", 1), registration=registration)
            self._later(self.wall + number, "beat", worker_id)
        self._later(self.wall + 1.0, "submit", "")
        self.numbers = count()

    @property
    def wall(self) -> float:
        return self.rig.now.wall

    def _later(self, at: float, what: str, about: str) -> None:
        heappush(self._due, (at, next(self._tie), what, about))

    def run(self) -> None:
        while True:
            at, _, what, about = self._due[0]
            turn = self.wall + self.rig.core.shifts.next_at - self.rig.t
            if min(at, turn) >= ENDS:
                return
            if turn < at:
                self.rig.t += max(0.0, turn - self.wall)
                self._do(self.rig.give(Tick()))
            else:
                heappop(self._due)
                self.rig.t += max(0.0, at - self.wall)
                getattr(self, f"_{what}")(about)
            self._nobody_idles()

    def _submit(self, _: str) -> None:
        by_stream = self.chance.random() < 0.5
        number = next(self.numbers)
        lasts_min = self.chance.choice((5, 30, 90, 300))
        task = Task(
            "", f"t{number}", 1, f"{lasts_min} minutes", labels=(("hands", "stream" if by_stream else "caller"),),
            max_attempts=1_000,
        )  # fmt: skip
        delivery = Delivery.STREAM if by_stream else Delivery.CALLER
        self._do(self.rig.give(Submit(task, delivery, enqueue=True)))
        self._later(self.wall + self.chance.expovariate(1 / 5_000.0), "submit", "")

    def _beat(self, worker_id: str) -> None:
        self._say(worker_id)
        self._later(self.wall + DAY_S, "beat", worker_id)

    def _say(self, worker_id: str, *reports: LeaseReport) -> None:
        desk = self.desks[worker_id]
        by_stream = worker_id in self._stream
        running = [*(RunningLease(lease, (self.wall - since) * 1e3) for lease, since in desk.running.items())]
        listed = (*running, *(RunningLease(lease, None) for lease in desk.held)) if by_stream else None
        sample = make_sample(queue_depth=len(desk.running) + len(desk.held), running=listed, reports=reports)
        self._do(self.rig.give(Heartbeat(self.rig.session_of[worker_id], sample)))

    def _end(self, about: str) -> None:
        worker_id, lease_id, lasts = about.split(" ")
        desk = self.desks[worker_id]
        del desk.running[lease_id]
        if float(lasts) < 2 * HOUR_S:
            self.ends.append((worker_id, self.wall))
        outcome = Outcome(OutcomeStatus.SUCCEEDED, float(lasts) * 1e3)
        if worker_id not in self._stream:
            self._do(self.rig.give(ReportOutcome(lease_id, outcome)))
            return
        started = [desk.held.pop(0)] if desk.held else []
        for held in started:
            self._start(worker_id, held)
        reports = [LeaseReport(held, ReportKind.STARTED) for held in started]
        self._say(worker_id, LeaseReport(lease_id, ReportKind.FINISHED, outcome), *reports)

    def _start(self, worker_id: str, lease_id: str) -> None:
        record = self.rig.core.ledger.leases[lease_id]
        self.starts.append((worker_id, self.wall))
        self.desks[worker_id].running[lease_id] = self.wall
        lasts_s = float(record.task.task_type.split(" ")[0]) * 60.0 * self.chance.uniform(0.8, 1.2)
        self._later(self.wall + lasts_s, "end", f"{worker_id} {lease_id} {lasts_s}")

    def _do(self, out: list[Effect]) -> None:
        """What the workers do about it."""
        for effect in out:
            if isinstance(effect, Granted) and effect.record.delivery is Delivery.CALLER:
                self._start(effect.record.worker_id, effect.record.lease_id)
            elif isinstance(effect, HandOver):
                self._take(effect.decision.worker_id, effect.decision.lease_id)
            elif isinstance(effect, AskBack):
                worker_id = self.rig.core.ledger.leases[effect.lease_id].worker_id
                desk = self.desks[worker_id]
                if effect.lease_id in desk.held:
                    desk.held.remove(effect.lease_id)
                    self.handed_back += 1
                    self._say(worker_id, LeaseReport(effect.lease_id, ReportKind.RETURNED))
            assert not isinstance(effect, Recall), effect

    def _take(self, worker_id: str, lease_id: str) -> None:
        desk = self.desks[worker_id]
        reports = [LeaseReport(lease_id, ReportKind.ACKNOWLEDGED)]
        if len(desk.running) < desk.slots and not desk.held:
            self._start(worker_id, lease_id)
            reports.append(LeaseReport(lease_id, ReportKind.STARTED))
        else:
            desk.held.append(lease_id)
        self._say(worker_id, *reports)

    def _nobody_idles(self) -> None:
        """Whoever is on shift, by the clock on the wall, and has a slot takes what waits."""
        core = self.rig.core
        if core.queue.unfilled or core.placement.within is not None:
            return
        for hands, several in (("stream", self._stream), ("caller", self.desks.keys() - self._stream)):
            waits = any(("hands", hands) in waiter.event.task.labels for waiter in core.queue.waiting.by_task.values())
            if waits:
                for worker_id in several:
                    record = core.fleet.records[worker_id]
                    assert len(record.leases) >= record.slots or not works(worker_id, self.wall), worker_id


@pytest.fixture(scope="module", params=["start", "end"])
def year(request: pytest.FixtureRequest) -> tuple[Year, str]:
    run = Year(7, request.param)
    run.run()
    return run, request.param


def local_days(year: Year, zone: str) -> set[str]:
    return {
        datetime.fromtimestamp(at, ZoneInfo(zone)).date().isoformat()
        for worker_id, at in year.starts
        if HOURS[worker_id][0] == zone
    }


def test_no_task_starts_outside_of_its_workers_hours(year: tuple[Year, str]) -> None:
    run, _ = year
    outside = [(who, datetime.fromtimestamp(at, UTC).isoformat()) for who, at in run.starts if not works(who, at)]
    assert not outside
    assert len(run.starts) > 4_000


def test_everybody_works_all_year_and_on_the_days_on_which_clocks_change(year: tuple[Year, str]) -> None:
    run, _ = year
    for zone, days in CHANGES.items():
        assert set(days) <= local_days(run, zone)
    for worker_id in HOURS:
        months = {datetime.fromtimestamp(at, UTC).month for who, at in run.starts if who == worker_id}
        assert len(months) == 12, worker_id


def test_work_goes_on_to_the_last_minutes_of_shifts_and_begins_with_them(year: tuple[Year, str]) -> None:
    run, within = year
    begun = sum(not works(who, at - 1.0) for who, at in run.starts)
    assert begun > 300
    if within == "start":
        assert sum(not works(who, at + 600.0) for who, at in run.starts) > 50
        assert run.handed_back > 50


def test_what_has_to_end_within_a_shift_nearly_always_does(year: tuple[Year, str]) -> None:
    run, within = year
    over = sum(not works(who, at - 1.0) for who, at in run.ends)
    share = over / len(run.ends)
    if within == "end":  # by the P50 of a prediction, of durations that vary by a fifth
        assert share < 0.05
    else:
        assert share > 0.02
