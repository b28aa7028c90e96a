"""What a picture of the errors is drawn from, in constant memory: gathered only where a picture is asked for."""

from collections import Counter
from dataclasses import dataclass
from math import ceil, erf, floor, log, log10, sqrt

from scheduler_server.model.prediction import Prediction
from scheduler_server.simulation.trace_row import TraceRow

LEVELS = 50
"""Bins of the share of tasks below each predicted quantile."""

PER_DECADE = 20
"""Bins of durations per factor of ten: each 12 % wide, half of what counts as near."""

MOST_WINDOWS = 240
"""Points of a line over time; from there on two become one."""

_Z90 = 1.2815515655446004  # standard deviations from the median of a normal distribution to its 90th percentile

_ROUNDING = 1e-9  # of a bin: what is exactly at P90 must not fall behind it


@dataclass(slots=True)
class Window:
    """So many rows after each other, how many were near, and when the last of them was submitted."""

    rows: int = 0
    near: int = 0
    until_s: float = 0.0


class Calibration:
    """Where the actual durations of a trace lay in what one predictor said of them."""

    def __init__(self) -> None:
        self.levels = [0] * LEVELS  # each bin with its upper end, as coverage counts what is at a quantile as below it
        self.joint: Counter[tuple[int, int]] = Counter()
        self.windows: list[Window] = []
        self._window_rows = 1

    def add(self, row: TraceRow, prediction: Prediction | None, *, near: bool) -> None:
        """One prediction, or None where it failed."""
        self._over_time(row, near)
        if prediction is None:
            return
        self.levels[max(0, ceil(level(row.duration_ms, prediction) * LEVELS - _ROUNDING) - 1)] += 1
        self.joint[(_bin(row.duration_ms), _bin(prediction.point_ms))] += 1

    def _over_time(self, row: TraceRow, near: bool) -> None:
        if not self.windows or self.windows[-1].rows >= self._window_rows:
            if len(self.windows) == MOST_WINDOWS:
                self._halve()
            self.windows.append(Window())
        window = self.windows[-1]
        window.rows += 1
        window.near += near
        window.until_s = row.submit_s

    def _halve(self) -> None:
        pairs = zip(self.windows[::2], self.windows[1::2], strict=True)
        self.windows = [Window(a.rows + b.rows, a.near + b.near, b.until_s) for a, b in pairs]
        self._window_rows *= 2


def level(actual_ms: float, prediction: Prediction) -> float:
    """The quantile at which the actual duration lies, by a log-normal distribution through the predicted P50 and P90.

    At 0.5 and 0.9 that is what the predictor said; between and beyond, an interpolation. Where P50 and P90 are one, all
    below is 0 and all above 1.
    """
    width = log(prediction.p90_ms / prediction.p50_ms)
    off = log(actual_ms / prediction.p50_ms)
    if width <= 0:
        return 0.0 if off < 0 else 0.5 if off == 0 else 1.0
    return 0.5 * (1.0 + erf(off / width * _Z90 / sqrt(2.0)))


def _bin(duration_ms: float) -> int:
    return floor(log10(duration_ms) * PER_DECADE)
