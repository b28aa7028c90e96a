"""When workers with calendars come and go: columns by row of the fleet, for questions about many of them at once.

Without any calendar there are no columns, and nothing costs anything.
"""

from collections.abc import Collection, Sequence
from math import inf
from typing import Any, NamedTuple

import numpy as np

from scheduler_server.model.decision import Rejection
from scheduler_server.registry.columns import Floats
from scheduler_server.registry.pool import Pool
from scheduler_server.registry.record import WorkerRecord

TURNS = 6
"""Comings and goings that are known of each worker: three days of work, of which the weekend may be between two."""

_SAMPLED = 256
"""Workers of a pool whose turns an estimate looks at; the others are taken to be like them."""

_LOOKS = 8
"""Workers that are looked at before nobody is named as the next who comes."""


class Turns(NamedTuple):
    """How many slots come (above 0) or go at which wall seconds, in order; all of that is known until `horizon`."""

    at: Floats
    slots: Floats
    horizon: float


_NO_TURNS = Turns(np.zeros(0), np.zeros(0), inf)


class Agenda:
    """Columns, infinite where a worker has no calendar, or nothing changes any more. `version` moves with any of them.

    `change_at`: the next change of its slots, wall seconds. `leaves_at`: when its shift ends; minus infinity while it
    is off. `turns`: when it comes or goes next. `speed`: by that of the worker, how fast it is.
    """

    def __init__(self) -> None:
        self.used = False
        self.version = 0
        self._make(0)

    def _make(self, rows: int) -> None:
        self.change_at = np.full(rows, inf)
        self.leaves_at = np.full(rows, inf)
        self.speed = np.ones(rows)
        self.turns = np.full((rows, TURNS), inf)
        self.works = np.ones(rows, dtype=bool)
        self.has = np.zeros(rows, dtype=bool)

    def _make_room(self, row: int) -> None:
        known = len(self.has)
        if row < known:
            return
        before = self.change_at, self.leaves_at, self.speed, self.turns, self.works, self.has
        self._make(max(64, 2 * row))
        after: tuple[np.ndarray[Any, Any], ...] = (
            self.change_at, self.leaves_at, self.speed, self.turns, self.works, self.has
        )  # fmt: skip
        for old, new in zip(before, after, strict=True):
            new[:known] = old

    # ------------------------------------------------------------------ kept

    def note(self, record: WorkerRecord, turns: Sequence[float]) -> None:
        """Keep what a worker's record says of its shift; `turns` are its next comings and goings, in order."""
        row = record.row
        self._make_room(row)
        self.used = True
        self.version += 1
        self.change_at[row] = record.shift_at
        self.leaves_at[row] = record.leaves_at
        self.speed[row] = record.speed
        self.turns[row] = inf
        self.turns[row, : len(turns)] = turns[:TURNS]
        self.works[row] = not record.off_shift
        self.has[row] = True

    def forget(self, row: int) -> None:
        """This row's worker has no calendar any more, or is gone."""
        if row < len(self.has) and self.has[row]:
            self.version += 1
            self.has[row] = False
            self.works[row] = True
            self.change_at[row] = self.leaves_at[row] = self.turns[row] = inf

    def learn_speed(self, record: WorkerRecord) -> None:
        """A worker is faster or slower than it was taken to be."""
        if self.used:
            self._make_room(record.row)
            self.speed[record.row] = record.speed

    # ------------------------------------------------------------------ asked

    def overdue(self, wall: float) -> "np.ndarray[Any, np.dtype[np.intp]]":
        """Rows whose worker's slots should have changed by now."""
        return np.flatnonzero(self.change_at <= wall)

    def staying(self, pool: Pool, wall: float, work_s: float) -> "np.ndarray[Any, np.dtype[np.bool_]]":
        """By position, the members of a pool that could do this much work (seconds at speed 1) within their shift."""
        rows = pool.rows[: len(pool.members)]
        known = rows < len(self.has)
        rows = np.where(known, rows, 0)
        stay = self.leaves_at.take(rows) >= wall + work_s / self.speed.take(rows)
        return stay | ~known

    def next_to_come(self, pools: Sequence[Pool], but: Collection[str] = ()) -> tuple[WorkerRecord, float] | None:
        """Of the workers that are off shift and nothing else keeps out, but these, the first that comes, and when."""
        found: tuple[WorkerRecord, float] | None = None
        for pool in pools:
            if not pool.counts[Rejection.OFF_SHIFT]:
                continue
            rows = pool.rows[: len(pool.members)]
            comes_at = np.where(rows < len(self.has), self.turns[np.minimum(rows, len(self.has) - 1), 0], inf)
            for _ in range(_LOOKS + len(but)):
                pos = int(comes_at.argmin())
                at = float(comes_at[pos])
                if at == inf or (found is not None and at > found[1]):
                    break
                record = pool.members[pos]
                if record.status is Rejection.OFF_SHIFT and record.worker_id not in but:
                    if found is None or (at, record.worker_id) < (found[1], found[0].worker_id):
                        found = record, at
                    break
                comes_at[pos] = inf
        return found

    def turns_of(self, pools: Sequence[Pool]) -> Turns:
        """How the slots of these pools come and go from now on, of workers that are usable but for their hours."""
        if not self.used:
            return _NO_TURNS
        ats: list[Floats] = []
        slots: list[Floats] = []
        horizon = inf
        for pool in pools:
            members = len(pool.members)
            rows = pool.rows[:members]
            rows = rows[rows < len(self.has)]
            rows = rows[self.has[rows]]
            if not len(rows):
                continue
            works = self.works[rows]
            here, off = int(works.sum()), int(len(rows) - works.sum())
            able = pool.counts[Rejection.CANDIDATE] + pool.counts[Rejection.NO_FREE_SLOT]
            each = pool.slots / members
            # Of who is here, and of who is off, the share that nothing else keeps out.
            goes = each * min(1.0, able / here) if here else 0.0
            comes = each * min(1.0, pool.counts[Rejection.OFF_SHIFT] / off) if off else 0.0
            if len(rows) > _SAMPLED:
                picked = np.linspace(0, len(rows) - 1, _SAMPLED).astype(np.intp)
                goes, comes = goes * len(rows) / _SAMPLED, comes * len(rows) / _SAMPLED
                rows, works = rows[picked], works[picked]
            turns = self.turns[rows]
            signs = np.where(np.arange(TURNS) % 2 == 0, -1.0, 1.0)
            change = np.where(works[:, None], signs * goes, -signs * comes)
            ats.append(turns.reshape(-1))
            slots.append(change.reshape(-1))
            horizon = min(horizon, float(turns[:, -1].min()))
        if not ats:
            return _NO_TURNS
        at, change = np.concatenate(ats), np.concatenate(slots)
        order = np.argsort(at, kind="stable")
        at, change = at[order], change[order]
        until = int(np.searchsorted(at, horizon, side="right")) if horizon < inf else int(np.searchsorted(at, inf))
        return Turns(at[:until], change[:until], horizon)
