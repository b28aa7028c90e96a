"""The predictors by the names that configuration gives them."""

from collections.abc import Callable

from scheduler_server.predictor import Predictor
from scheduler_server.predictor.adaptive import AdaptivePredictor
from scheduler_server.predictor.ema import EmaPredictor
from scheduler_server.predictor.last_two import last_two
from scheduler_server.predictor.median import median_of_ten
from scheduler_server.predictor.settings import PredictorSettings

PREDICTORS: dict[str, Callable[[PredictorSettings], Predictor]] = {
    "adaptive": AdaptivePredictor,
    "ema": EmaPredictor,
    "last_two": last_two,
    "median": median_of_ten,
}
