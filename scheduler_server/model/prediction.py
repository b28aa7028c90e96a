"""Predictions: how long a task will take."""

from typing import NamedTuple


class Prediction(NamedTuple):
    """How long a task of this kind takes on a worker of speed 1, in milliseconds.

    `point_ms` is what accuracy is judged by, `mean_ms` what sums are made of. `confidence` is 0 for a default, towards
    1 with evidence. `as_of` is the monotonic second it was published at; None for built-in predictors,
    which answer in line and are never stale.
    """

    point_ms: float
    mean_ms: float
    p50_ms: float
    p90_ms: float
    confidence: float
    sample_count: int
    key: str
    predictor: str
    as_of: float | None = None
