"""Would these settings do harm to the fleet as it is? Asked before they hold; nothing is changed by asking.

What is no contradiction can still be a mistake: a threshold below the pace at which the workers beat, a scorer that
ranks everybody the same. Each finding names the setting, what it would do, and to how many.
"""

from typing import NamedTuple

from scheduler_server.assignment.core import Scheduler
from scheduler_server.assignment.order import order_of
from scheduler_server.assignment.settings import CoreSettings
from scheduler_server.model.clock import Now
from scheduler_server.model.worker import Health
from scheduler_server.registry.health import Ageing, degraded_by_load, load_of
from scheduler_server.scorer import Scorer
from scheduler_server.scorer.strategies import SCORERS

_MOST = 0.5
"""Share of the fleet, or of the decisions, that may be hit: beyond half it is the rule and no exception."""

_LEAST_DECISIONS = 100
"""Decisions timed before a budget is judged by them."""

_MANY_WAITING, _ORDERED_S = 10_000, 6e-5
"""Waiting tasks from which on ordering them anew can be noticed, and what one of them takes."""

_WEIGHTS = {
    "weighted": ("wait_weight", "load_weight"),
    "capability": ("capacity_weight", "success_weight", "speed_weight"),
}
"""Weights of the terms that differ between workers: without any of them all workers score the same."""

_SILENCE = ("unhealthy_after_s", "healthy_within_s")
_LOAD = ("degraded_load", "recovered_load", "cpu_weight", "memory_weight")


class Harm(NamedTuple):
    """What a setting would do."""

    setting: str
    message: str


class Outcome(NamedTuple):
    """What was found: harm, which is to be forced, what is only odd, and how many workers' health would change."""

    harms: tuple[Harm, ...]
    warnings: tuple[str, ...]
    changed_health: int


class Judged(NamedTuple):
    """One worker under other settings."""

    health: Health
    by_load: bool
    removed: bool
    below_floor: bool


def judge(core: Scheduler, now: Now, settings: CoreSettings) -> Outcome:
    """What these settings would do now. Looks at every worker where they say anything about workers."""
    before = core.settings
    harms = [*_of_weights(before, settings), *_of_budget(core, settings)]
    warnings = list(_odd(core, settings))
    changed = 0
    scorer = SCORERS[settings.scorer_name](settings.scorer)
    if before.health != settings.health or scorer.health_score_floor != core.scorer.health_score_floor:
        changed, found = _of_health(core, now, settings, scorer)
        harms += found
    return Outcome(tuple(harms), tuple(warnings), changed)


# ---------------------------------------------------------------------- the fleet


def _of_health(core: Scheduler, now: Now, settings: CoreSettings, scorer: Scorer) -> tuple[int, list[Harm]]:
    """How many workers' health would change at once, and the harm of it."""
    health, ageing = settings.health, Ageing(settings.health)
    floor, floor_before = scorer.health_score_floor, core.scorer.health_score_floor
    present = changed = silent = slow = loaded = barred = removed = 0
    for record in core.fleet.records.values():
        age_s = now.monotonic - record.last_seen
        if record.connected and not record.deaf:
            present += 1
            # Between two beats it will be as old as its interval, whatever it is at this instant.
            band = ageing.band(max(age_s, record.heartbeat_interval_s))
            load = load_of(health, record.cpu, record.memory)
            by_load = degraded_by_load(health, load, was=record.degraded_by_load)
            now_health = Health.DEGRADED if by_load and band.health is Health.HEALTHY else band.health
            changed += ageing.band(age_s).health is not record.health or by_load != record.degraded_by_load
            silent += band.health is Health.UNHEALTHY and record.health is not Health.UNHEALTHY
            slow += band.health is Health.DEGRADED and record.health is Health.HEALTHY
            loaded += now_health is Health.DEGRADED and by_load and record.health is Health.HEALTHY
            barred += band.health_score < floor and record.health_score >= floor_before
        removed += ageing.band(age_s).removed and age_s < core.settings.health.remove_after_s
    harms = []
    for count, path, value, would in (
        (silent, "health.unhealthy_after_s", health.unhealthy_after_s, "would be unhealthy at their pace of beating"),
        (slow, "health.healthy_within_s", health.healthy_within_s, "would be degraded at their pace of beating"),
        (loaded, _by_load(core.settings, settings), health.degraded_load, "would be degraded by their load"),
        (barred, "scorer.health_score_floor", floor, "would be no candidates"),
        (removed, "health.remove_after_s", health.remove_after_s, "would be removed at once"),
    ):
        if count > _MOST * (len(core.fleet) if path == "health.remove_after_s" else present):
            harms.append(Harm(path, f"{value:g}: {count:,} of {len(core.fleet):,} workers {would}; more than half"))
    return changed, harms


def _by_load(before: CoreSettings, settings: CoreSettings) -> str:
    """Which setting it is that degrades workers by their load."""
    for name in _LOAD:
        if getattr(before.health, name) != getattr(settings.health, name):
            return f"health.{name}"
    return "health.degraded_load"


# ---------------------------------------------------------------------- decisions


def _of_weights(before: CoreSettings, settings: CoreSettings) -> list[Harm]:
    names = _WEIGHTS.get(settings.scorer_name, ())
    if not names or (before.scorer == settings.scorer and before.scorer_name == settings.scorer_name):
        return []
    if sum(getattr(settings.scorer, name) for name in names) > 0.0:
        return []
    both = " and ".join(f"scorer.{name}" for name in names)
    return [Harm(f"scorer.{names[-1]}", f"0: with {both} all 0, {settings.scorer_name} scores every worker the same")]


def _of_budget(core: Scheduler, settings: CoreSettings) -> list[Harm]:
    """A budget that most decisions of this run have exceeded would make most of the next ones fallbacks."""
    budget_ms, timed = settings.predictor.budget_ms, core.placement.latencies
    if budget_ms >= core.settings.predictor.budget_ms or timed.count < _LEAST_DECISIONS:
        return []
    within = sum(
        count for bound, count in zip(timed.bounds, timed.counts, strict=False) if bound <= budget_ms / 1_000.0
    )
    if within >= _MOST * timed.count:
        return []
    slower = f"{timed.count - within:,} of {timed.count:,} decisions took longer, or may have"
    return [Harm("predictor.budget_ms", f"{budget_ms:g}: {slower}; more than half would be fallbacks")]


def _odd(core: Scheduler, settings: CoreSettings) -> list[str]:
    """What is allowed, and maybe not meant."""
    odd = []
    waiting, most = len(core.queue.waiting), settings.queue.max_length
    if waiting > most:
        odd.append(f"queue.max_length {most:,}: {waiting:,} tasks wait already; they stay, and new ones are refused")
    ordered = order_of(settings.queue, settings.assignment.objective).basis != core.queue.renewing.order.basis
    if ordered and waiting >= _MANY_WAITING:
        odd.append(
            f"{waiting:,} waiting tasks are ordered anew, a few at a time: for about {waiting * _ORDERED_S:.1f} s those"
            " that have their new place go first"
        )
    if len(core.fleet) > settings.worker.max_workers:
        odd.append(
            f"worker.max_workers {settings.worker.max_workers:,}: {len(core.fleet):,} are known already; they stay, and"
            " new ones are refused"
        )
    by_tenant = order_of(settings.queue, settings.assignment.objective).by_tenant
    if settings.queue.tenant_weights != core.settings.queue.tenant_weights and not by_tenant:
        odd.append("queue.tenant_weights: has no effect while the order is not fair")
    strategy = settings.predictor.strategy
    if strategy != core.settings.predictor.strategy:
        odd.append(
            f"predictor.strategy {strategy}: it takes up what it had learned before, and the latest outcomes;"
            " LearnFromHistory teaches it the rest"
        )
    return odd
