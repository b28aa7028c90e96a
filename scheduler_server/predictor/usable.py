"""Is what a predictor answered a prediction at all?"""

from math import inf

from scheduler_server.model.prediction import Prediction
from scheduler_server.predictor.settings import LONGEST_MS


def usable(prediction: Prediction) -> bool:
    """Are all of its durations ones that sums, timers and answers may be made of?

    Not negative, no NaN (comparisons with it are false), at most a year; only P90, the end of a tail, may be longer,
    and not for ever: it says how long a lease may be silent.
    """
    point, mean, p50, p90 = prediction[:4]
    return 0.0 <= point <= LONGEST_MS and 0.0 <= mean <= LONGEST_MS and 0.0 <= p50 <= LONGEST_MS and 0.0 <= p90 < inf
