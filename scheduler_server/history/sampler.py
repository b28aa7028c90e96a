"""Looks at the fleet: every second at the queue, every minute at the workers, which goes into the hour and the log.

Workers are looked at in slices of a millisecond. What was busy or present since a worker's last sample is told as a
whole number of slots; the rest is carried over, so that sums over time come out right.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from scheduler_server.assignment.core import Scheduler
from scheduler_server.history.busy import Busy, Stretch
from scheduler_server.history.hour import Hour, Spread
from scheduler_server.model.clock import Now
from scheduler_server.model.outcome import OutcomeStatus
from scheduler_server.registry.record import WorkerRecord
from scheduler_server.storage.decision_log import Sampled

_LOG = logging.getLogger(__name__)

_SECOND_S = 1.0
_MINUTE_S = 60.0
_SLICE_S = 0.001
_LATELY = 60  # seconds that rates are over
_FRESH_S = 1.0
"""Asked twice within a second, the second answer is from the same look."""

Sample = Callable[[Sampled], bool]


class _Counts(NamedTuple):
    at: float
    decisions: int
    outcomes: int


class _Unlogged:
    """What the log has not been told of a worker yet: time, slot seconds busy and present."""

    __slots__ = ("busy_s", "covers_s", "present_s")

    def __init__(self) -> None:
        self.covers_s = self.busy_s = self.present_s = 0.0


class Sampler:
    """Everything is for the loop's thread. `sample` is where samples go: None while there is no log."""

    def __init__(
        self, core: Scheduler, busy: Busy, hour: Hour, now: Callable[[], Now], *, interval_s: float, workers: int
    ) -> None:
        self._core = core
        self._busy = busy
        self._hour = hour
        self._now = now
        self._interval_s = interval_s
        self._most = workers
        self.sample: Sample | None = None
        self.lately = Spread()  # the last hour, as it was at the last full minute
        began = now()
        self._second = began.monotonic
        self._minute = began.monotonic
        self._sampled = began.monotonic
        self._looked = -_FRESH_S
        self._rates: deque[_Counts] = deque([self._counts(began.monotonic)], maxlen=_LATELY + 1)
        self._counted = self._rates[-1]
        self._by_status = self._ends()
        self._looking = asyncio.Lock()
        self._unlogged: dict[str, _Unlogged] = {}
        self._queue = _Unlogged()  # of the fleet: tasks that waited, as `busy_s`
        self._next = 0  # of the workers, whose sample is due next

    def reconfigure(self, interval_s: float, workers: int) -> None:
        """Sample so often, and so many workers each time, from now on."""
        self._interval_s, self._most = interval_s, workers

    # ------------------------------------------------------------------ time

    async def run(self) -> None:
        """Look, until cancelled."""
        while True:
            await asyncio.sleep(_SECOND_S)
            try:
                await self.tick()
            except Exception:  # noqa: BLE001 -- whatever it was, the next second is another try
                _LOG.exception("the fleet was not sampled")

    async def tick(self) -> None:
        """What is due by now."""
        now = self._now()
        self._count(now)
        if now.monotonic - self._minute >= _MINUTE_S:
            self._minute = now.monotonic
            await self._look()
            await self._sum_up()
            self._hour.begin(now.wall)
        if self.sample is not None and now.monotonic - self._sampled >= self._interval_s:
            await self._sample(now)

    async def _sum_up(self) -> None:
        until = time.monotonic() + _SLICE_S
        for found in self._hour.spread(self._hour.columns(0, len(self._hour.minutes) - 1)):
            if found is not None:
                self.lately = found
            elif time.monotonic() > until:
                await asyncio.sleep(0)
                until = time.monotonic() + _SLICE_S

    async def look(self) -> None:
        """Bring the hour up to now, unless it is."""
        if self._now().monotonic - self._looked >= _FRESH_S:
            self._count(self._now())
            await self._look()

    # ------------------------------------------------------------------ the queue, and what happened

    def _counts(self, at: float) -> _Counts:
        ended = self._core.outcomes.by_status
        told = sum(ended.values()) - ended.get(OutcomeStatus.LOST, 0)
        return _Counts(at, sum(self._core.placement.by_cause), told)

    def _ends(self) -> tuple[int, int]:
        ended = self._core.outcomes.by_status
        failed = ended.get(OutcomeStatus.FAILED, 0) + ended.get(OutcomeStatus.TIMED_OUT, 0)
        return ended.get(OutcomeStatus.SUCCEEDED, 0), failed

    def _count(self, now: Now) -> None:
        passed_s = now.monotonic - self._second
        if passed_s <= 0.0:
            return
        self._second = now.monotonic
        minute = self._hour.current
        minute.ended = now.wall
        waiting_s = len(self._core.queue.waiting) * passed_s
        minute.waiting_s += waiting_s
        minute.counted_s += passed_s
        self._queue.busy_s += waiting_s
        self._queue.covers_s += passed_s
        counts = self._counts(now.monotonic)
        minute.started += counts.decisions - self._counted.decisions
        self._counted = counts
        completed, failed = ends = self._ends()
        minute.completed += completed - self._by_status[0]
        minute.failed += failed - self._by_status[1]
        self._by_status = ends
        if now.monotonic - self._rates[-1].at >= _SECOND_S:
            self._rates.append(counts)

    def rates(self) -> tuple[float, float]:
        """Decisions and outcomes per second, over the last minute."""
        now = self._now().monotonic
        then = next((each for each in self._rates if now - each.at <= _LATELY + _SECOND_S), self._rates[-1])
        counts = self._counts(now)
        passed_s = max(_SECOND_S, now - then.at)
        return (counts.decisions - then.decisions) / passed_s, (counts.outcomes - then.outcomes) / passed_s

    # ------------------------------------------------------------------ workers

    async def _look(self) -> None:
        async with self._looking:
            records = self._core.fleet.records
            until = time.monotonic() + _SLICE_S
            for record in list(records.values()):
                if time.monotonic() > until:
                    await asyncio.sleep(0)
                    until = time.monotonic() + _SLICE_S
                if record.row >= 0:
                    self._add(record.worker_id, self._busy.take(record, self._now()))
            for worker_id in self._busy.known():
                if time.monotonic() > until:
                    await asyncio.sleep(0)
                    until = time.monotonic() + _SLICE_S
                if worker_id not in records:
                    self._busy.forget(worker_id)
                    self._hour.leave(worker_id)
                    self._unlogged.pop(worker_id, None)
            self._looked = self._now().monotonic

    def _add(self, worker_id: str, stretch: Stretch) -> None:
        self._hour.add(worker_id, stretch)
        if self.sample is not None and self._most:
            unlogged = self._unlogged.get(worker_id)
            if unlogged is None:
                unlogged = self._unlogged[worker_id] = _Unlogged()
            unlogged.covers_s += stretch.covers_s
            unlogged.busy_s += stretch.busy_s
            unlogged.present_s += stretch.present_s

    # ------------------------------------------------------------------ the log

    async def _sample(self, now: Now) -> None:
        self._sampled = now.monotonic
        if now.monotonic - self._looked >= _FRESH_S:
            await self._look()
        fleet = self._core.fleet
        cpu = memory = load = 0.0
        slots = running = active = 0
        order = list(fleet.records.values())
        first, self._next = self._next, 0
        due = range(first, first + self._most)
        until = time.monotonic() + _SLICE_S
        for at, record in enumerate(order):
            if time.monotonic() > until:
                await asyncio.sleep(0)
                until = time.monotonic() + _SLICE_S
            if record.row < 0:
                continue
            if not record.barred:
                active += 1
                cpu += record.cpu
                memory += record.memory
                load += record.load
                slots += record.slots
                running += record.occupied
            if at in due:
                self._tell(record)
            elif at == due.stop:
                self._next = at
        queue = self._queue
        waiting = _whole(queue.busy_s, queue.covers_s)
        most = max(active, 1)
        self._put(
            Sampled(
                now.wall, "", "", "", cpu / most, memory / most, load / most, waiting, slots, running, queue.covers_s
            )
        )
        queue.busy_s -= waiting * queue.covers_s
        queue.covers_s = 0.0

    def _tell(self, record: WorkerRecord) -> None:
        unlogged = self._unlogged.get(record.worker_id)
        if unlogged is None or unlogged.covers_s <= 0.0:
            return
        covers_s = unlogged.covers_s
        slots, running = _whole(unlogged.present_s, covers_s), _whole(unlogged.busy_s, covers_s)
        unlogged.present_s -= slots * covers_s
        unlogged.busy_s -= running * covers_s
        unlogged.covers_s = 0.0
        self._put(
            Sampled(
                self._now().wall,
                record.worker_id,
                record.health.name.lower(),
                record.accounting.name.lower(),
                record.cpu,
                record.memory,
                record.load_now,
                record.queue_depth,
                slots,
                running,
                covers_s,
            )
        )

    def _put(self, sample: Sampled) -> None:
        if self.sample is not None:
            self.sample(sample)


def _whole(slot_s: float, covers_s: float) -> int:
    """Slots that come nearest to this much slot time."""
    return max(0, round(slot_s / covers_s)) if covers_s > 0.0 else 0
