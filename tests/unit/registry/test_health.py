"""Thresholds at, just below and just above, in both profiles; hysteresis; float32."""

import struct
from dataclasses import replace
from math import nextafter
from typing import Any

import pytest

from scheduler_server.model.worker import Health
from scheduler_server.registry.health import Ageing, degraded_by_load, load_of
from scheduler_server.registry.settings import HealthSettings
from scheduler_server.settings import PROFILES

DEFAULT = HealthSettings()
_SLOW: dict[str, Any] = {name.split(".")[1]: value for name, value in PROFILES["slow"].items()}
SLOW = replace(DEFAULT, **_SLOW)


def above(value: float) -> float:
    return nextafter(value, 1e9)


def below(value: float) -> float:
    return nextafter(value, 0.0)


@pytest.mark.parametrize(
    ("settings", "age_s", "health", "removed"),
    [
        (DEFAULT, -1.0, Health.HEALTHY, False),
        (DEFAULT, 0.0, Health.HEALTHY, False),
        (DEFAULT, below(30.0), Health.HEALTHY, False),
        (DEFAULT, 30.0, Health.HEALTHY, False),
        (DEFAULT, above(30.0), Health.UNHEALTHY, False),
        (DEFAULT, 300.0, Health.UNHEALTHY, False),
        (DEFAULT, above(300.0), Health.UNHEALTHY, True),
        (SLOW, 600.0, Health.HEALTHY, False),
        (SLOW, above(600.0), Health.DEGRADED, False),
        (SLOW, 900.0, Health.DEGRADED, False),
        (SLOW, above(900.0), Health.UNHEALTHY, True),
    ],
)
def test_silence_makes_degraded_unhealthy_and_removed(
    settings: HealthSettings, age_s: float, health: Health, removed: bool
) -> None:
    band = Ageing(settings).band(age_s)
    assert (band.health, band.removed) == (health, removed)
    assert band.ends >= age_s


@pytest.mark.parametrize(
    ("age_s", "freshness"),
    [(0.0, 1.0), (15.0, 1.0), (above(15.0), 0.9), (25.0, 0.9), (above(25.0), 0.75), (1e9, 0.75)],
)
def test_freshness_falls_in_steps(age_s: float, freshness: float) -> None:
    assert Ageing(DEFAULT).band(age_s).freshness == freshness


@pytest.mark.parametrize("unhealthy_after_s", [0.7, 7.0, 11.0, 30.0, 49.0, 900.0, 1_234.567])
def test_freshness_has_all_its_steps_whatever_the_limit(unhealthy_after_s: float) -> None:
    ageing = Ageing(replace(DEFAULT, healthy_within_s=unhealthy_after_s, unhealthy_after_s=unhealthy_after_s))
    for share, before, after in ((0.5, 1.0, 0.9), (5 / 6, 0.9, 0.75)):
        assert ageing.band(share * unhealthy_after_s).freshness == before
        assert ageing.band(above(share * unhealthy_after_s)).freshness == after


@pytest.mark.parametrize(
    ("age_s", "score"),
    [(0.0, 1.0), (60.0, 1.0), (above(60.0), 0.8), (300.0, 0.8), (above(300.0), 0.5), (900.0, 0.5), (above(900.0), 0.2)],
)
def test_the_health_score_of_the_specialist_falls_at_1_5_and_15_minutes(age_s: float, score: float) -> None:
    assert Ageing(SLOW).band(age_s).health_score == score


def as_float32(value: float) -> float:
    number: float = struct.unpack("f", struct.pack("f", value))[0]
    return number


def test_a_load_of_nine_tenths_in_float32_is_nine_tenths() -> None:
    sent = as_float32(0.9)
    assert sent < 0.9
    rounded = round(sent, 6)  # as the codec does
    assert load_of(DEFAULT, rounded, rounded) == 0.9
    assert degraded_by_load(DEFAULT, load_of(DEFAULT, rounded, rounded), was=False)


@pytest.mark.parametrize(
    ("cpu", "memory", "load"), [(1.0, 0.0, 0.6), (0.0, 1.0, 0.4), (0.5, 0.25, 0.4), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)]
)
def test_load_is_six_parts_cpu_and_four_parts_memory(cpu: float, memory: float, load: float) -> None:
    assert load_of(DEFAULT, cpu, memory) == load


@pytest.mark.parametrize(
    ("load", "was", "degraded"),
    [(0.899999, False, False), (0.9, False, True), (0.900001, False, True), (0.849999, True, False), (0.85, True, True),
     (0.850001, True, True), (0.85, False, False), (1.0, True, True), (0.0, True, False)],
)  # fmt: skip
def test_degraded_by_load_begins_at_090_and_ends_below_085(load: float, was: bool, degraded: bool) -> None:
    assert degraded_by_load(DEFAULT, load, was=was) is degraded
