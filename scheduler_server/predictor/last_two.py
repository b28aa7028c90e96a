"""The mean of the last two durations per task type: quick to follow a change, and quick to follow an outlier.

Source: Tsafrir, Etsion and Feitelson, "Backfilling Using System-Generated Predictions Rather Than User Runtime
Estimates" (2007), who found it the best simple predictor for batch jobs.
"""

from statistics import fmean

from scheduler_server.predictor.recent import RecentPredictor
from scheduler_server.predictor.settings import PredictorSettings


def last_two(settings: PredictorSettings) -> RecentPredictor:
    """The predictor `last_two`."""
    return RecentPredictor("last_two", 2, fmean, settings)
