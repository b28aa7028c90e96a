"""Settings outside the core: each part that has some is told of changes, and goes by them."""

from dataclasses import replace
from random import Random
from typing import Any

from opentelemetry.sdk.resources import Resource

from scheduler_server.dispatch.entries import Delivered, Source
from scheduler_server.rpc.access import Access
from scheduler_server.rpc.applying import Applying
from scheduler_server.rpc.log_levels import LogLevels
from scheduler_server.rpc.outlets import Outlets
from scheduler_server.rpc.stores import Stores
from scheduler_server.settings import Settings
from scheduler_server.telemetry.push import MetricsPush
from scheduler_server.telemetry.settings import TraceSettings
from scheduler_server.telemetry.tracing import Tracing
from tests.unit.dispatch.house import STREAM, House


class Deaf:
    """A part that is not told anything here."""


def applying(stores: Stores, outlets: Any = None) -> Applying:
    unheard: Any = Deaf()
    levels = LogLevels("warning")
    return Applying(stores, unheard, unheard, outlets or unheard, levels, Access(), unheard, lambda _: None)


def test_entries_are_set_aside_by_the_new_number_of_deliveries() -> None:
    house = House(max_deliveries=3)
    stores = Stores()
    stores.tasks = house.dispatcher
    before = Settings(dispatch=house.dispatcher.settings)
    limits = {"max_deliveries": 9, "batch": 7, "dead_letters_max": 11, "published_max": 12, "keep_s": 13.0}
    after = replace(before, dispatch=replace(before.dispatch, trim_every_s=14.0, **limits))  # type: ignore[arg-type] # of each its kind
    applying(stores)(before, after)
    fields = {b"task_id": b"t", b"task_type": b"type"}
    for number, deliveries in enumerate((9, 10)):
        source = Source(STREAM, f"{number}-0")
        house.dispatcher.intake.take(Delivered(source, {**fields, b"task_id": str(number).encode()}, deliveries))
        assert (house.settled(source) != "") == (deliveries == 10)
    for part in (house.dispatcher.settings, house.dispatcher.intake._settings, house.dispatcher._writer._settings):
        assert part is after.dispatch


def test_metrics_are_pushed_as_often_as_is_said_now() -> None:
    push = MetricsPush.__new__(MetricsPush)
    outlets: Any = Outlets.__new__(Outlets)
    outlets._push, outlets.tracing = push, None
    before = Settings()
    applying(Stores(), outlets)(before, replace(before, metrics=replace(before.metrics, otlp_interval_s=7.0)))
    assert push._settings.otlp_interval_s == 7.0


def test_tasks_are_traced_by_the_new_share() -> None:
    tracing = Tracing(TraceSettings(sample_ratio=1.0), Resource({}))
    tracing._random = Random(1)
    outlets: Any = Outlets.__new__(Outlets)
    outlets.tracing = tracing
    before = Settings()
    applying(Stores(), outlets)(before, replace(before, traces=replace(before.traces, sample_ratio=0.25)))
    traced = sum(tracing.below(None) is not None for _ in range(1_000))
    assert 200 < traced < 300
