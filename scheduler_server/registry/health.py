"""Thresholds, ageing, hysteresis: what a worker's silence and load make of it."""

from bisect import bisect_left
from math import inf
from typing import NamedTuple

from scheduler_server.model.decision import Rejection
from scheduler_server.model.worker import Health
from scheduler_server.registry.record import WorkerRecord
from scheduler_server.registry.settings import HealthSettings

# Freshness: the factor on a score, by heartbeat age as a share of unhealthy_after_s. At the default of 30 s and the
# longest interval of 10 s, half is one beat missed for sure and five sixths two. The factors are mild: they decide
# between workers that are otherwise alike, and do not overrule a real difference in load.
_FRESHNESS = ((0.0, 1.0), (0.5, 0.9), (5 / 6, 0.75))

# The specification's health score by heartbeat age in seconds; "never heard" cannot be, since registering is hearing.
_HEALTH_SCORES = ((0.0, 1.0), (60.0, 0.8), (300.0, 0.5), (900.0, 0.2))


class Band(NamedTuple):
    """What holds for one stretch of heartbeat age. `ends` is the greatest age in it, in seconds."""

    ends: float
    freshness: float
    health: Health
    health_score: float
    removed: bool


class Ageing:
    """Heartbeat age to everything that follows from it. Ages equal to a threshold are still within it."""

    def __init__(self, settings: HealthSettings) -> None:
        edges = {settings.healthy_within_s, settings.unhealthy_after_s, settings.remove_after_s}
        edges.update(share * settings.unhealthy_after_s for share, _ in _FRESHNESS[1:])
        edges.update(age for age, _ in _HEALTH_SCORES[1:] if age < settings.remove_after_s)
        self._edges = sorted(edges)
        starts = [0.0, *self._edges]
        ends = [*self._edges, inf]
        self._bands = [self._band(settings, start, end) for start, end in zip(starts, ends, strict=True)]
        self.first = self._bands[0]
        self.first_ends = self.first.ends

    @staticmethod
    def _band(settings: HealthSettings, start: float, end: float) -> Band:
        if start >= settings.unhealthy_after_s:
            health = Health.UNHEALTHY
        elif start >= settings.healthy_within_s:
            health = Health.DEGRADED
        else:
            health = Health.HEALTHY
        return Band(
            ends=end,
            # The same product as the edge's own: a quotient could round to just below it.
            freshness=[factor for edge, factor in _FRESHNESS if edge * settings.unhealthy_after_s <= start][-1],
            health=health,
            health_score=[score for edge, score in _HEALTH_SCORES if edge <= start][-1],
            removed=start >= settings.remove_after_s,
        )

    def band(self, age_s: float) -> Band:
        """The band of a heartbeat age; a negative age counts as 0."""
        return self._bands[bisect_left(self._edges, age_s)] if age_s > 0 else self._bands[0]


def load_of(settings: HealthSettings, cpu: float, memory: float) -> float:
    """Load 0-1, the specification's `0.6*cpu + 0.4*memory` by default, rounded to 1e-6."""
    return round(settings.cpu_weight * cpu + settings.memory_weight * memory, 6)


def degraded_by_load(settings: HealthSettings, load: float, *, was: bool) -> bool:
    """Is a worker of this load degraded? From degraded_load on, and until it falls below recovered_load."""
    return load >= (settings.recovered_load if was else settings.degraded_load)


def health_of(record: WorkerRecord, band: Band) -> Health:
    """A stream that is lost, or reaches nobody, is unhealthy at once; the timers are for silence on a live one."""
    if not record.connected or record.deaf or band.health == Health.UNHEALTHY:
        return Health.UNHEALTHY
    return Health.DEGRADED if record.degraded_by_load or band.health == Health.DEGRADED else Health.HEALTHY


def barred_by(record: WorkerRecord, health_score_floor: float, max_offers: int) -> Rejection:
    """What keeps a worker out whatever its free slots; the first that applies."""
    if not record.connected:
        return Rejection.DISCONNECTED
    if record.deaf:
        return Rejection.NOT_RECEIVING
    if record.health == Health.UNHEALTHY:
        return Rejection.UNHEALTHY
    if record.cordoned:
        return Rejection.CORDONED
    if record.draining:
        return Rejection.DRAINING
    if record.ejected:
        return Rejection.EJECTED
    if record.off_shift:  # the last of those that last: who is off shift, and nothing else, comes with the next one
        return Rejection.OFF_SHIFT
    if record.health_score < health_score_floor:
        return Rejection.HEALTH_SCORE
    if record.offers >= max_offers:
        return Rejection.OUTBOUND_FULL
    return Rejection.CANDIDATE
