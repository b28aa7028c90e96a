"""What one predictor's answers were worth."""

from collections import Counter
from math import isfinite, log
from typing import Any

from scheduler_server.model.prediction import Prediction
from scheduler_server.simulation.calibration import Calibration
from scheduler_server.simulation.hindsight import NEAR
from scheduler_server.simulation.tally import Tally
from scheduler_server.simulation.trace_row import TraceRow

FACTOR = 2.0
_ROUNDING = 1e-9
"""What a limit is widened by, so that 1,250 predicted for 1,000 is within 25 % whatever 0.25 is in binary."""


class Score:
    """Judges predictions against durations, in constant memory but for one counter per task type.

    A prediction that is an error, or no finite number above 0, is a failure: a miss in every share, and left out of the
    errors and losses, which it has none of.
    """

    def __init__(self, calibration: Calibration | None = None) -> None:
        self.rows = 0
        self.near = 0
        self.failures = 0
        self.first_failure = ""
        self.near_by_type: Counter[str] = Counter()
        self.calibration = calibration
        self.predict_us = Tally()
        self.update_us = Tally()
        self._within_factor = 0
        self._below_p50 = 0
        self._below_p90 = 0
        self._errors = Tally()
        self._error_sum = 0.0
        self._loss_p50 = 0.0
        self._loss_p90 = 0.0

    def judge(self, row: TraceRow, group: str, prediction: Prediction) -> None:
        """One prediction against what became of the task; `group` is what stands for its type."""
        actual = row.duration_ms
        point, p50, p90 = prediction.point_ms, prediction.p50_ms, prediction.p90_ms
        if not (point > 0 and p50 > 0 and p90 > 0 and isfinite(point + p50 + p90)):
            self.fail(row, f"answered {point:g} ms, P50 {p50:g}, P90 {p90:g}")
            return
        self.rows += 1
        error = abs(point - actual) / actual
        near = error <= NEAR + _ROUNDING
        if near:
            self.near += 1
            self.near_by_type[group] += 1
        ratio = point / actual
        self._within_factor += 1 / FACTOR - _ROUNDING <= ratio <= FACTOR + _ROUNDING
        self._errors.add(error)
        self._error_sum += error
        self._below_p50 += actual <= p50
        self._below_p90 += actual <= p90
        off_p50, off_p90 = log(actual / p50), log(actual / p90)
        self._loss_p50 += 0.5 * abs(off_p50)
        self._loss_p90 += 0.9 * off_p90 if off_p90 > 0 else -0.1 * off_p90
        if self.calibration is not None:
            self.calibration.add(row, prediction, near=near)

    def fail(self, row: TraceRow, reason: str) -> None:
        """A prediction that was none."""
        self.rows += 1
        self._note(row, reason)
        if self.calibration is not None:
            self.calibration.add(row, None, near=False)

    def fail_update(self, row: TraceRow, reason: str) -> None:
        """An outcome that the predictor could not take."""
        self._note(row, reason)

    def _note(self, row: TraceRow, reason: str) -> None:
        self.failures += 1
        self.first_failure = self.first_failure or f"line {row.line}: {reason}"

    def figures(self) -> dict[str, Any]:
        """Shares in percent, relative errors as ratios, pinball losses of ln(duration), medians of microseconds.

        The pinball loss is taken of logarithms: quantiles pass through them unchanged, so it is least for the true
        ones, and one task of an hour does not weigh as much as 3,600 of a second. Dividing by the actual duration would
        do the latter, but rewards quantiles that are too low. 0.10 is about 10 % off.
        """
        judged = self._errors.count
        return {
            "rows": self.rows,
            "hit25": _percent(self.near, self.rows),
            "hit2x": _percent(self._within_factor, self.rows),
            "median_rel_error": _rounded(self._errors.median()),
            "mean_rel_error": _rounded(self._error_sum / judged) if judged else None,
            "p50_coverage": _percent(self._below_p50, self.rows),
            "p90_coverage": _percent(self._below_p90, self.rows),
            "pinball_p50": _rounded(self._loss_p50 / judged) if judged else None,
            "pinball_p90": _rounded(self._loss_p90 / judged) if judged else None,
            "us_predict": _rounded(self.predict_us.median()),
            "us_update": _rounded(self.update_us.median()),
            "failures": self.failures,
        }


def _percent(part: int, whole: int) -> float | None:
    return round(100.0 * part / whole, 2) if whole else None


def _rounded(value: float | None) -> float | None:
    """Four significant digits."""
    return None if value is None else float(f"{value:.4g}")
