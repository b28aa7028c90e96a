"""Durations whose truth is known: one task type, log-normal, one task after the other, each outcome known at once."""

from math import erf, log, sqrt
from random import Random
from statistics import median
from typing import Any

from scheduler_server.model.task import Task
from scheduler_server.predictor import Predictor
from scheduler_server.predictor.settings import PredictorSettings
from scheduler_server.predictor.strategies import PREDICTORS
from tests.performance.harness import rounded

_TASK = Task("", "t", 1, "a")
_BASE_MS = 1_000.0

NEAR = 0.25
DEVIATION = 0.17
"""Log-deviation of the stationary workload."""

CEILING = round(100.0 * erf(log((1 + NEAR) / (1 - NEAR)) / 2 / DEVIATION / sqrt(2.0)), 1)
"""What the best constant reaches on it, in percent: 2 Phi(0.2554 / s) - 1, where 0.2554 is ln(1.25 / 0.75) / 2."""

_STATIONARY_TASKS = 1_000
_SEEDS = 40

STEP = 10.0
_BEFORE_STEP = 50
_GIVEN_UP = 1_000
_STEP_NOISE = 0.1

SHIFT = 3.0
_BEFORE_SHIFT = 1_000
_SHIFT_DEVIATION = 0.3
_WINDOW = 100
_WINDOWS = 6
WINDOWS_BEFORE_JUDGED = 2
"""Windows after a shift that are left out of the judgement: the 200 observations that a predictor has to adapt."""


def _made(name: str, settings: PredictorSettings) -> Predictor:
    return PREDICTORS[name](settings)


def recovery(name: str, settings: PredictorSettings) -> dict[str, Any]:
    """Observations after a tenfold step until the point is within 25 % of the new level; None for never.

    Without noise, and the median over seeds with a log-deviation of 0.1.
    """
    found: dict[str, Any] = {}
    for way, factor in (("up", STEP), ("down", 1 / STEP)):
        found[way] = _recovery(_made(name, settings), factor, 0.0, Random(0))
        noisy = [_recovery(_made(name, settings), factor, _STEP_NOISE, Random(seed)) for seed in range(_SEEDS)]
        found[f"{way}_noisy"] = median(noisy)
    return found


def _recovery(predictor: Predictor, factor: float, deviation: float, chance: Random) -> int:
    for _ in range(_BEFORE_STEP):
        predictor.observe(_TASK, _BASE_MS * chance.lognormvariate(0.0, deviation))
    level = _BASE_MS * factor
    for seen in range(_GIVEN_UP):
        if abs(predictor.predict(_TASK).point_ms - level) <= NEAR * level:
            return seen
        predictor.observe(_TASK, level * chance.lognormvariate(0.0, deviation))
    return _GIVEN_UP


def shift(name: str, settings: PredictorSettings) -> dict[str, Any]:
    """P90 coverage in percent before a threefold shift, and in windows of 100 after it, over all seeds."""
    found: dict[str, Any] = {"window": _WINDOW}
    for way, factor in (("up", SHIFT), ("down", 1 / SHIFT)):
        before = 0
        after = [0] * _WINDOWS
        for seed in range(_SEEDS):
            predictor, chance = _made(name, settings), Random(seed)
            covered = [
                _covered(predictor, _BASE_MS * (factor if at >= _BEFORE_SHIFT else 1.0), chance)
                for at in range(_BEFORE_SHIFT + _WINDOW * _WINDOWS)
            ]
            before += sum(covered[_BEFORE_SHIFT - _WINDOW : _BEFORE_SHIFT])
            for window in range(_WINDOWS):
                at = _BEFORE_SHIFT + window * _WINDOW
                after[window] += sum(covered[at : at + _WINDOW])
        found[f"before_{way}"] = round(100.0 * before / _WINDOW / _SEEDS, 1)
        found[way] = [round(100.0 * each / _WINDOW / _SEEDS, 1) for each in after]
    return found


def _covered(predictor: Predictor, level_ms: float, chance: Random) -> bool:
    duration_ms = level_ms * chance.lognormvariate(0.0, _SHIFT_DEVIATION)
    covered = duration_ms <= predictor.predict(_TASK).p90_ms
    predictor.observe(_TASK, duration_ms)
    return covered


def stationary(name: str, settings: PredictorSettings) -> dict[str, Any]:
    """1,000 tasks of a log-deviation of 0.17, the unknown first one among them: shares within 25 %, in percent."""
    shares = []
    for seed in range(_SEEDS):
        predictor, chance, near = _made(name, settings), Random(seed), 0
        for _ in range(_STATIONARY_TASKS):
            duration_ms = _BASE_MS * chance.lognormvariate(0.0, DEVIATION)
            near += abs(predictor.predict(_TASK).point_ms - duration_ms) <= NEAR * duration_ms
            predictor.observe(_TASK, duration_ms)
        shares.append(100.0 * near / _STATIONARY_TASKS)
    return {"hit25": rounded(sum(shares) / len(shares)), "least": min(shares), "seeds": _SEEDS}
