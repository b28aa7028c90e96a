"""The text: what it says of a core, and how it is made."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any, ClassVar, NoReturn

import pytest
from prometheus_client.parser import text_string_to_metric_families

from scheduler_server.assignment.settings import CoreSettings
from scheduler_server.fallback.breaker import BreakerState
from scheduler_server.model.decision import Cause
from scheduler_server.model.fleet_event import FleetEventKind
from scheduler_server.model.outcome import OutcomeStatus
from scheduler_server.model.refusal import Reason
from scheduler_server.model.task import Task
from scheduler_server.predictor.drift import Drift
from scheduler_server.predictor.ema import EmaPredictor
from scheduler_server.predictor.settings import PredictorSettings
from scheduler_server.telemetry import exposition
from scheduler_server.telemetry.exposition import PrometheusText
from scheduler_server.telemetry.instruments import INSTRUMENTS, PLACEMENT_REFUSALS
from scheduler_server.telemetry.meter import resource
from scheduler_server.telemetry.sources import Sources, StoreFigures
from tests.fakes.predictor import KnowsNothing
from tests.unit.assignment.rig import Rig

JOURNAL = StoreFigures("journal", "ok")
NO_SNAPSHOT = StoreFigures("snapshot", "disabled")


class Measured:
    """A core, what would be around it, and the text of both."""

    def __init__(self, **of_rig: Any) -> None:
        self.rig = Rig(**of_rig)
        self.draining = False
        self.events: Counter[FleetEventKind] = Counter()
        self.stores = [JOURNAL, NO_SNAPSHOT]
        sources = Sources(
            core=self.rig.core,
            now=lambda: self.rig.now,
            draining=lambda: self.draining,
            event_counts=self.events,
            streams=lambda: {"worker": 3, "event_watch": 1},
            overflows=lambda: 2,
            stores=lambda: self.stores,
        )
        self.text = PrometheusText(sources, resource(version="1.2.3", incarnation="abc"))

    async def values(self) -> dict[str, float]:
        """Samples by name and labels as they stand in the text."""
        return read(await self.text.text())


def read(text: bytes) -> dict[str, float]:
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            key = sample.name + (f"{{{labels}}}" if labels else "")
            assert key not in found, f"{key} is there twice"
            found[key] = sample.value
    return found


@pytest.fixture(autouse=True)
def made_anew_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposition, "FRESH_S", 0.0)


class Failing(KnowsNothing):
    """A predictor that can be told to fail."""

    name = "failing"

    def predict(self, task: Task) -> NoReturn:
        raise RuntimeError("no")

    def observe(self, task: Task, duration_ms: float) -> NoReturn:
        raise RuntimeError("no")


# ---------------------------------------------------------------------- what it says


async def test_a_core_at_rest_says_zero_for_everything_that_can_happen() -> None:
    measured = Measured()
    values = await measured.values()
    for cause in Cause:
        [key] = [
            key for key in values if key.startswith("scheduler_decisions") and f'cause="{cause.name.lower()}"' in key
        ]
        assert values[key] == 0
    for kind in FleetEventKind:
        assert values[f'scheduler_events_total{{kind="{kind.name.lower()}"}}'] == 0
    for status in OutcomeStatus:
        assert values[f'scheduler_outcomes_total{{status="{status.name.lower()}"}}'] == 0
    assert not [
        name
        for name in (key.partition("{")[0] for key in values)
        if "_within_" in name or "coverage" in name or "snapshot" in name
    ]


async def test_it_says_who_is_measured() -> None:
    text = (await Measured().text.text()).decode()
    [line] = [line for line in text.splitlines() if line.startswith("target_info{")]
    assert 'service_name="scheduler-server"' in line
    assert 'service_version="1.2.3"' in line
    assert 'service_instance_id="abc"' in line


async def test_decisions_refusals_leases_and_slots_are_those_of_the_core() -> None:
    measured = Measured()
    rig = measured.rig
    rig.connect("a", slots=2, capabilities=("gpu",))
    rig.connect("b", slots=1)
    first = rig.place(required=("gpu",))
    rig.place()
    rig.refuse(required=("tpu",))
    values = await measured.values()
    assert sum(value for key, value in values.items() if key.startswith("scheduler_decisions_total")) == 2
    assert values['scheduler_refusals_total{reason="no_capable_worker"}'] == 1
    assert values['scheduler_workers{health="healthy"}'] == 2
    assert values["scheduler_slots"] == 3
    assert values["scheduler_slots_used"] == values["scheduler_leases"] == 2
    rig.end(first.lease_id)
    values = await measured.values()
    assert values["scheduler_slots_used"] == values["scheduler_leases"] == 1
    assert values["scheduler_tasks_remembered"] == 1
    assert values['scheduler_outcomes_total{status="succeeded"}'] == 1


async def test_background_work_takes_slots_and_is_no_lease() -> None:
    measured = Measured()
    measured.rig.connect("bare", bare=True)
    measured.rig.beat("bare", queue_depth=3)
    values = await measured.values()
    assert (values["scheduler_slots_used"], values["scheduler_leases"]) == (3, 0)


async def test_health_and_candidates_follow_the_workers() -> None:
    measured = Measured()
    rig = measured.rig
    for name, load in (("a", 0.0), ("b", 0.95), ("c", 0.0)):
        rig.connect(name)
        rig.beat(name, cpu=load, memory=load)
    rig.disconnect("c")
    values = await measured.values()
    assert [values[f'scheduler_workers{{health="{health}"}}'] for health in ("healthy", "degraded", "unhealthy")] == [
        1,
        1,
        1,
    ]
    assert values["scheduler_workers_available"] == 2
    rig.remove("c")
    assert (await measured.values())['scheduler_workers{health="unhealthy"}'] == 0


async def test_the_breaker_is_told_by_state_and_failures() -> None:
    measured = Measured(predictor=Failing())
    rig = measured.rig
    rig.connect("a", slots=10)
    values: dict[str, float] = {}
    for failures, state in ((1, "closed"), (2, "closed"), (3, "open")):
        rig.place()
        values = await measured.values()
        assert values["scheduler_breaker_consecutive_failures"] == failures
        for each in BreakerState:
            name = each.name.lower()
            assert values[f'scheduler_breaker_state{{state="{name}"}}'] == (name == state)
        assert values["scheduler_breaker_open_types"] == (state == "open")
    assert values['scheduler_decisions_total{cause="predictor_error",source="fallback"}'] == 3


async def test_an_outcome_that_teaches_nothing_is_counted() -> None:
    measured = Measured(predictor=Failing())
    measured.rig.connect("a")
    measured.rig.end(measured.rig.place().lease_id)
    assert (await measured.values())["scheduler_prediction_learn_failures_total"] == 1


async def test_accuracy_is_that_of_the_core_once_there_is_any() -> None:
    measured = Measured()
    rig = measured.rig
    rig.connect("a", slots=1)
    for duration_ms in (1_000.0, 1_000.0, 1_100.0, 3_000.0):
        rig.end(rig.place().lease_id, duration_ms=duration_ms)
    figures = rig.core.accuracy.overall()
    values = await measured.values()
    assert values["scheduler_prediction_judged_total"] == figures.sample_count == 4
    for name in ("within_25_percent", "within_factor_2", "median_relative_error", "mean_relative_bias"):
        assert values[f"scheduler_prediction_{name}"] == getattr(figures, name)
    assert values['scheduler_prediction_coverage{bound="p50"}'] == figures.p50_coverage
    assert values['scheduler_prediction_coverage{bound="p90"}'] == figures.p90_coverage


async def test_keys_and_evictions_are_the_predictors() -> None:
    measured = Measured(settings=CoreSettings(predictor=PredictorSettings(max_types=2)))
    measured.rig.connect("a", slots=1)
    for task_type in ("one", "two", "three"):
        measured.rig.end(measured.rig.place(task_type=task_type).lease_id)
    values = await measured.values()
    assert values["scheduler_prediction_keys"] == 2
    assert values["scheduler_prediction_evictions_total"] == 1


class Drifting(EmaPredictor):
    """Finds drifts where it is told to."""

    found: ClassVar[list[Drift]] = []

    def take_drifts(self) -> list[Drift]:
        taken, Drifting.found = Drifting.found, []
        return taken


async def test_drifts_are_counted_by_direction_and_the_latest_one_is_told() -> None:
    measured = Measured(predictor=Drifting(PredictorSettings()))
    values = await measured.values()
    assert values['scheduler_prediction_drifts_total{direction="longer"}'] == 0
    assert 'scheduler_prediction_latest_drift_seconds{when="before"}' not in values
    Drifting.found = [Drift("a", 1_000.0, 3_000.0, "longer", 9), Drift("b", 800.0, 200.0, "shorter", 9)]
    measured.rig.tick_for(2.0)
    values = await measured.values()
    assert values['scheduler_prediction_drifts_total{direction="longer"}'] == 1
    assert values['scheduler_prediction_drifts_total{direction="shorter"}'] == 1
    assert values['scheduler_prediction_latest_drift_seconds{when="before"}'] == 0.8
    assert values['scheduler_prediction_latest_drift_seconds{when="after"}'] == 0.2


async def test_stores_say_their_one_state_and_a_snapshot_its_age() -> None:
    measured = Measured()
    measured.stores = [
        StoreFigures("journal", "degraded", pending=4, written=5, dropped=6),
        StoreFigures("snapshot", "unavailable", consecutive_failures=7, age_s=8.5, records=9, size_bytes=10),
    ]
    values = await measured.values()
    assert values['scheduler_store_state{state="degraded",store="journal"}'] == 1
    assert values['scheduler_store_state{state="ok",store="journal"}'] == 0
    assert values['scheduler_store_state{state="unavailable",store="snapshot"}'] == 1
    assert values['scheduler_store_pending{store="journal"}'] == 4
    assert values['scheduler_store_written_total{store="journal"}'] == 5
    assert values['scheduler_store_dropped_total{store="journal"}'] == 6
    assert values['scheduler_store_consecutive_failures{store="snapshot"}'] == 7
    assert values["scheduler_snapshot_age_seconds"] == 8.5
    assert values["scheduler_snapshot_records"] == 9
    assert values["scheduler_snapshot_size_bytes"] == 10
    measured.stores = [JOURNAL, NO_SNAPSHOT]
    assert "scheduler_snapshot_age_seconds" not in await measured.values(), "what is gone is not exported any more"


async def test_what_surrounds_the_core_is_told() -> None:
    measured = Measured()
    measured.events[FleetEventKind.DRIFT_DETECTED] += 2
    measured.draining = True
    measured.rig.go(12.5)
    values = await measured.values()
    assert values['scheduler_events_total{kind="drift_detected"}'] == 2
    assert values["scheduler_draining"] == 1
    assert values["scheduler_uptime_seconds"] == 12.5
    assert values['scheduler_streams{kind="worker"}'] == 3
    assert values["scheduler_streams_overflowed_total"] == 2


async def test_a_reason_that_has_no_label_is_counted_among_the_others() -> None:
    measured = Measured()
    assert Reason.INTERNAL not in PLACEMENT_REFUSALS
    measured.rig.core.placement.refusals.update({Reason.NO_WORKERS: 2, Reason.INTERNAL: 3})
    values = await measured.values()
    assert values['scheduler_refusals_total{reason="no_workers"}'] == 2
    assert values['scheduler_refusals_total{reason="other"}'] == 3


# ---------------------------------------------------------------------- how it is made


async def test_no_worker_is_looked_at() -> None:
    measured = Measured()
    rig = measured.rig
    for number in range(20):
        rig.connect(f"w{number}")
    expected = await measured.values()

    class Closed(dict[str, Any]):
        """Says how many it has, and nothing of them."""

        def _closed(self, *_: object) -> NoReturn:
            raise AssertionError("a worker was looked at")

        __iter__ = __getitem__ = get = values = items = keys = _closed  # none of them answers

    rig.core.fleet.records = Closed(rig.core.fleet.records.copy())
    assert await measured.values() == expected


async def test_the_loop_has_its_turn_between_any_two_parts() -> None:
    measured = Measured()
    loop, turns, alive = asyncio.get_running_loop(), 0, True

    def turn() -> None:
        nonlocal turns
        turns += 1
        if alive:
            loop.call_soon(turn)

    loop.call_soon(turn)
    await measured.text.text()
    alive = False
    assert turns >= len(list(exposition.parts_of(INSTRUMENTS)))


async def test_what_happens_between_two_parts_does_no_harm() -> None:
    measured = Measured()
    rig, loop, number, alive = measured.rig, asyncio.get_running_loop(), 0, True

    def happen() -> None:
        nonlocal number
        number += 1
        rig.connect(f"w{number}", slots=1 + number % 3, capabilities=(f"c{number}",))
        rig.end(rig.place().lease_id, duration_ms=float(number))
        if number > 3:
            rig.remove(f"w{number - 3}")
        if alive:
            loop.call_soon(happen)

    loop.call_soon(happen)
    for _ in range(20):
        values = await measured.values()
        assert values["scheduler_slots"] >= 1
    alive = False
    assert number > 100


async def test_callers_at_the_same_time_get_whole_texts_of_the_same_series() -> None:
    measured = Measured()
    texts = await asyncio.gather(*(measured.text.text() for _ in range(5)))
    assert len({tuple(sorted(read(text))) for text in texts}) == 1


async def test_a_text_that_is_fresh_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposition, "FRESH_S", 1_000.0)
    measured = Measured()
    first = await measured.text.text()
    measured.draining = True
    assert await measured.text.text() is first
    monkeypatch.setattr(exposition, "FRESH_S", 0.0)
    assert (await measured.values())["scheduler_draining"] == 1


async def test_a_reading_that_fails_costs_its_own_instrument_only() -> None:
    measured = Measured()

    def fail() -> NoReturn:
        raise RuntimeError("no")

    counts: Callable[[], Any] = fail
    object.__setattr__(measured.text._sources, "overflows", counts)
    values = await measured.values()
    assert "scheduler_streams_overflowed_total" not in values
    assert "scheduler_uptime_seconds" in values
    assert "scheduler_leases" in values


async def test_two_servers_in_one_process_do_not_mix() -> None:
    one, other = Measured(), Measured()
    one.rig.connect("a", slots=4)
    assert (await other.values())["scheduler_slots"] == 0
    assert (await one.values())["scheduler_slots"] == 4
