"""What would other settings have done? The last decisions, made anew.

A decision whose candidates were recorded with their terms, by the scorer that would be in force, is scored anew from
what is recorded: that is exact for weights, among the candidates that were kept. Any other is tried twice on the fleet
as it is now, under the settings in force and under the others, and the two answers are compared: what differs is due to
the settings and not to the time that has passed. Overrides count in both cases: those of then among recorded
candidates, which they had chosen, and those in force now on the present fleet. Order, leases and thresholds of health
are not judged by that; whose health would change is counted besides.
"""

import time
from collections import Counter
from typing import Any, NamedTuple

from scheduler_server.assignment.dry_run import DryRun
from scheduler_server.assignment.events import Submit
from scheduler_server.assignment.ledger import TaskRecord
from scheduler_server.assignment.reconfiguring import TAUGHT
from scheduler_server.assignment.scanning import Scan
from scheduler_server.assignment.settings import CoreSettings
from scheduler_server.model.decision import Decision
from scheduler_server.model.refusal import Refusal
from scheduler_server.model.task import BlockingReason
from scheduler_server.predictor import Predictor
from scheduler_server.predictor.strategies import PREDICTORS
from scheduler_server.rpc import encode
from scheduler_server.rpc.paging import Turn
from scheduler_server.rpc.shell import Shell
from scheduler_server.scorer import Scorer
from scheduler_server.scorer.strategies import SCORERS

MOST_EXAMPLES = 10

_LONGEST_S = 3.0
"""Time for all of it: what was not judged by then is told."""

_RANKED = 16
"""Best workers kept of a scan: they may be given tasks while decisions are made anew by it."""

_WEIGHTS = {
    "weighted": {"wait": "wait_weight", "load": "load_weight", "priority": "priority_weight"},
    "capability": {"capacity": "capacity_weight", "success_rate": "success_weight", "speed": "speed_weight"},
    "specialist": {"specialization": "specialization_bonus", "room": "room_weight"},
}
"""Which setting is the factor of a term; a term that is not here has the factor that was recorded."""


class _Anew(NamedTuple):
    """One decision under the settings in force, or of then, and under the others."""

    worker_before: str
    worker_after: str
    source_differs: bool
    waits_ms: tuple[float, float]
    detail: str


class Replay:
    """The last decisions under these settings. `run` makes it; then `fill` and `notes` tell it."""

    def __init__(self, shell: Shell, settings: CoreSettings) -> None:
        self._shell = shell
        self._core = shell.core
        self._settings = settings
        before = self._core.settings
        same = before.scorer == settings.scorer and before.scorer_name == settings.scorer_name
        self._scorer: Scorer = self._core.scorer if same else SCORERS[settings.scorer_name](settings.scorer)
        self._predictor: Predictor | None = None
        self._scans: dict[Any, Scan] = {}
        self._judged: list[tuple[TaskRecord, _Anew]] = []
        self._how: Counter[str] = Counter()
        self._asked = 0

    async def run(self, most: int) -> None:
        """Decide the last so many anew."""
        turn = Turn()
        until = time.monotonic() + _LONGEST_S
        records: list[TaskRecord] = []
        for record in reversed(self._core.ledger.leases.values()):
            if len(records) >= most:
                break
            records.append(record)
        self._asked = most
        if self._settings.predictor != self._core.settings.predictor:
            self._predictor = await self._taught()
        for at, record in enumerate(records):
            if time.monotonic() > until:
                self._how["no time was left"] += len(records) - at
                return
            if turn.over():
                await turn.pause()
            anew = self._recorded(record) or await self._present(record)
            if anew is not None:
                self._judged.append((record, anew))

    async def _taught(self) -> Predictor:
        made = PREDICTORS[self._settings.predictor.strategy](self._settings.predictor)
        turn = Turn()
        taught = [record for record, _ in zip(self._core.ledger.latest(), range(TAUGHT), strict=False) if record.taught]
        for record in reversed(taught):
            if turn.over():
                await turn.pause()
            made.observe(record.task, record.taught_ms)
        return made

    # ------------------------------------------------------------------ from what is recorded

    def _recorded(self, record: TaskRecord) -> _Anew | None:
        """By the terms of its candidates; None where they were not kept, or are another scorer's."""
        decision = record.decision
        explained = decision.explanation
        if (
            explained is None
            or decision.scorer != self._settings.scorer_name
            or self._predictor is not None
            or not explained.candidates
            or explained.candidates[0].worker_id != decision.worker_id
        ):
            return None
        names = _WEIGHTS.get(decision.scorer)
        scored = [each.score for each in explained.candidates if each.score is not None]
        if names is None or not scored or scored[0] < max(scored):  # health, not the score, decided
            return None
        best, best_score = "", float("-inf")
        for candidate in explained.candidates:
            if candidate.rejection or not candidate.terms:
                continue
            score = sum(
                value * (getattr(self._settings.scorer, names[name]) if name in names else weight)
                for name, value, weight in candidate.terms
            )
            if score > best_score + 1e-12:  # the first of equals, as they were ranked
                best, best_score = candidate.worker_id, score
        if not best:
            return None
        self._how["from its recorded candidates"] += 1
        detail = f"scored anew from its recorded candidates: {best} {best_score:.4f}"
        return _Anew(decision.worker_id, best, False, (decision.wait_ms, decision.wait_ms), detail)

    # ------------------------------------------------------------------ on the fleet as it is

    async def _present(self, record: TaskRecord) -> _Anew | None:
        """Tried on the present fleet, once under the settings in force and once under the others."""
        task = record.task._replace(start_by=None, not_before=None)
        event = Submit(task, record.delivery)
        core = self._core
        before = DryRun(core, event, time.perf_counter)
        after = DryRun(core, event, time.perf_counter, scorer=self._scorer, predictor=self._predictor)
        scans = [await self._scan(event, run) if run.needs_scan else None for run in (before, after)]
        try:  # in one go: between the two the fleet does not change
            was = before.decide(self._shell.now(), 1, scans[0])
            now = after.decide(self._shell.now(), 1, scans[1])
        except RuntimeError:  # those that a scan found are no candidates any more
            self._how["the fleet changed meanwhile"] += 1
            return None
        if isinstance(was, Refusal) or isinstance(now, Refusal):
            blocked = {each.blocking for each in (was, now) if isinstance(each, Refusal)}
            held = BlockingReason.OVERRIDE in blocked
            self._how["an override holds such tasks back now" if held else "nobody could take it now"] += 1
            return None
        self._how["on the present fleet"] += 1
        return _Anew(
            was.worker_id, now.worker_id, was.source is not now.source, (was.wait_ms, now.wait_ms), _because(was, now)
        )

    async def _scan(self, event: Submit, run: DryRun) -> Scan:
        """All workers looked at, once for tasks that need the same and are under the same overrides."""
        task, scorer = event.task, run.scorer
        in_force = scorer is self._core.scorer
        key = (task.required, task.labels, event.delivery, event.excluded, task.category, run.bounds, in_force)
        scan = self._scans.get(key)
        if scan is None or (scan.candidates and not scan.ranked):
            scan = self._scans[key] = Scan(self._core.fleet, event, scorer, _RANKED, bounds=run.bounds)
            turn = Turn()
            for worker in list(self._core.fleet.records.values()):
                if turn.over():
                    await turn.pause()
                if worker.row >= 0:
                    scan.look(worker)
        return scan

    # ------------------------------------------------------------------ told

    def fill(self, message: Any, changed_health: int) -> None:
        """Fill a ConfigEffect."""
        message.decisions = len(self._judged)
        message.changed_health = changed_health
        for record, anew in self._judged:
            message.changed_sources += anew.source_differs
            if anew.worker_before == anew.worker_after:
                continue
            message.changed_workers += 1
            if len(message.examples) < MOST_EXAMPLES:
                decision = record.decision
                message.examples.add(
                    decision_id=decision.decision_id,
                    worker_before=anew.worker_before,
                    worker_after=anew.worker_after,
                    detail=anew.detail,
                )
                encode.task_key(message.examples[-1].task, decision.task)
        if self._judged:
            for at, field in enumerate((message.mean_wait_before, message.mean_wait_after)):
                mean_ms = sum(anew.waits_ms[at] for _, anew in self._judged) / len(self._judged)
                encode.set_span(field, mean_ms / 1_000.0)

    def notes(self) -> list[str]:
        """How they were judged, and what was not."""
        found = [f"{count:,} decisions: {how}" for how, count in sorted(self._how.items())]
        left = self._asked - sum(self._how.values())
        if left > 0:
            found.append(f"{left:,} decisions asked for are not there any more, or never were")
        if self._core.overrides.in_force and self._how["on the present fleet"]:
            found.append("what was tried on the present fleet was tried under the overrides in force now")
        return found


def _because(was: Decision, now: Decision) -> str:
    if was.source is not now.source:
        return f"on the present fleet: {was.source.name.lower()} before, {now.source.name.lower()} after"
    return f"on the present fleet: by {was.scorer} {was.score:.4f} before, by {now.scorer} {now.score:.4f} after"
