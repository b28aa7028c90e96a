"""The median of the last ten durations per task type: unmoved by outliers, five outcomes late after a change."""

from statistics import median

from scheduler_server.predictor.recent import RecentPredictor
from scheduler_server.predictor.settings import PredictorSettings

_MOST = 10
"""Durations remembered: the length which, on batch logs, neither forgets a burst nor remembers last month."""


def median_of_ten(settings: PredictorSettings) -> RecentPredictor:
    """The predictor `median`."""
    return RecentPredictor("median", _MOST, median, settings)
