"""A worker's health: what its silence, its stream and its load make of it, and the events that tell so."""

from collections.abc import Callable
from math import inf

from scheduler_server.assignment.effects import Effect, Published
from scheduler_server.model.clock import Now
from scheduler_server.model.fleet_event import FleetEventKind, MakeEvent
from scheduler_server.model.worker import Health
from scheduler_server.registry.fleet import Fleet
from scheduler_server.registry.health import Ageing, barred_by, degraded_by_load, health_of, load_of
from scheduler_server.registry.record import WorkerRecord
from scheduler_server.registry.settings import HealthSettings


class Vitals:
    """Keeps health, freshness and what bars a worker true to its last heartbeat.

    `silent` holds the workers that have said nothing for long enough to be removed at the next cleanup.
    """

    def __init__(
        self,
        settings: HealthSettings,
        max_offers: int,
        fleet: Fleet,
        health_score_floor: float,
        make_event: MakeEvent,
    ) -> None:
        self._fleet = fleet
        self._make_event = make_event
        self._limits(settings, max_offers, health_score_floor)
        self.turn: Callable[[Now, WorkerRecord, list[Effect]], None] = _nothing  # brings a shift up to now
        self.silent: dict[str, WorkerRecord] = {}
        self.fell_silent: list[WorkerRecord] = []  # since somebody looked

    def _limits(self, settings: HealthSettings, max_offers: int, health_score_floor: float) -> None:
        self._settings = settings
        self._max_offers = max_offers
        self.floor = health_score_floor
        self._ageing = Ageing(settings)

    def reconfigure(
        self, now: Now, settings: HealthSettings, max_offers: int, health_score_floor: float, out: list[Effect]
    ) -> None:
        """Judge every worker by these limits, now and from now on."""
        self._limits(settings, max_offers, health_score_floor)
        for record in self._fleet.records.values():
            self.loaded(now, record, load_of(settings, record.cpu, record.memory), out)
            self.age(record, now, out)

    def heard(self, now: Now, record: WorkerRecord, out: list[Effect]) -> None:
        """Its age is 0 again."""
        ageing = self._ageing
        self._fleet.band_changes_at(record, now.monotonic + ageing.first_ends)
        if (
            record.freshness != 1.0
            or record.health_score != 1.0
            or record.health is Health.UNHEALTHY
            or record.barred
            or record.shift_at <= now.wall
        ):
            self.age(record, now, out)
        else:
            health = health_of(record, ageing.first)
            if health is not record.health:
                self.age(record, now, out)
            else:
                self._fleet.refresh(record)

    def loaded(self, now: Now, record: WorkerRecord, load: float, out: list[Effect]) -> None:
        """Its sample says this load."""
        record.load = load
        crossed = degraded_by_load(self._settings, load, was=record.degraded_by_load)
        if crossed != record.degraded_by_load:
            record.degraded_by_load = crossed
            threshold = self._settings.degraded_load if crossed else self._settings.recovered_load
            out.append(
                Published(
                    self._make_event(
                        now,
                        FleetEventKind.WORKER_LOAD_CROSSED,
                        record.worker_id,
                        f"load {load:.3f} {'reached' if crossed else 'fell below'} {threshold:g}",
                        before="below" if crossed else "above",
                        after="above" if crossed else "below",
                    )
                )
            )

    def lead(self, record: WorkerRecord) -> None:
        """Work out anew whether it stands in the upper tier; its key is to be refreshed."""
        record.leads = record.health is Health.HEALTHY and record.speed >= self._settings.slow_below

    def bar(self, record: WorkerRecord) -> None:
        """Work out anew what keeps it out whatever its slots."""
        record.barred = barred_by(record, self.floor, self._max_offers)

    def age(self, record: WorkerRecord, now: Now, out: list[Effect]) -> None:
        """Make a worker's health say what its silence, stream and load say."""
        if record.shift_at <= now.wall or record.shift_over:
            self.turn(now, record, out)
        band = self._ageing.band(now.monotonic - record.last_seen)
        # The age is a difference and its end a sum: near 0, rounding could put that end before now.
        self._fleet.band_changes_at(record, max(now.monotonic, record.last_seen + band.ends))
        record.freshness = band.freshness
        record.health_score = band.health_score
        before = record.health
        record.health = health = health_of(record, band)
        self.lead(record)
        self.bar(record)
        self._fleet.refresh(record)
        if health is not before:
            self._fleet.by_health[before] -= 1
            self._fleet.by_health[health] += 1
            if health is Health.UNHEALTHY:
                self.fell_silent.append(record)
            out.append(
                Published(
                    self._make_event(
                        now,
                        FleetEventKind.WORKER_HEALTH_CHANGED,
                        record.worker_id,
                        self._why(record),
                        before=before.name.lower(),
                        after=health.name.lower(),
                    )
                )
            )
        if band.removed:
            self._fleet.band_changes_at(record, inf)
            self.silent[record.worker_id] = record
        elif self.silent:
            self.silent.pop(record.worker_id, None)

    @staticmethod
    def _why(record: WorkerRecord) -> str:
        if not record.connected:
            return "its stream is lost"
        if record.deaf:
            return "it does not answer probes"
        if record.degraded_by_load:
            return f"load {record.load:.3f}"
        return "heartbeats have stopped" if record.health is not Health.HEALTHY else "heartbeats are timely"

    def sweep(self, now: Now, out: list[Effect]) -> None:
        """Age every worker whose band has changed."""
        for record in self._fleet.aged(now.monotonic):
            self.age(record, now, out)


def _nothing(_now: Now, _record: WorkerRecord, _out: list[Effect]) -> None:
    """Nobody has any hours."""
