"""How fast a worker is, in at most 16 groups."""

from math import log

from scheduler_server.registry.record import WorkerRecord

_STEP = log(2) / 2
"""Groups are half an octave apart: a factor of 1.41. Finer ones would follow noise, and a choice between workers less
than 20 % apart is worth less than the load term."""

_LOWEST, _HIGHEST = -8, 7
"""16 groups, speeds 1/16 to 11.3: beyond that, a worker is broken or a task type is misnamed."""

SPEEDS = {group: 2.0 ** (group / 2) for group in range(_LOWEST, _HIGHEST + 1)}

_SHRINK = 8
"""Outcomes that count for "speed 1" at first: an estimate of n outcomes keeps n / (n + 8) of what it says."""

_MEMORY = 64
"""Outcomes remembered: with durations that vary by a factor e, the estimate then errs by an eighth of one log unit, a
third of a step."""

_STICK = 0.65
"""Steps that an estimate must leave its group by: half a step would be no hysteresis at all."""


_LEVEL_PRIOR, _LEVEL_MEMORY = 8, 512
"""Outcomes of the whole fleet that count for "predictions are right on average" at first, and that are remembered."""


class Speeds:
    """Learns how fast each worker is beside the others.

    Durations are learned as those of a worker of speed 1, speeds from how durations were predicted: nothing but this
    would hold the level of either. What all are off by, each as often as it works, is `level` and says nothing of any
    worker. Without it, a mean that is not the mean of logarithms feeds itself: the speeds of a whole fleet sank to a
    third on real traces, and predictions with them. So a worker that is alone has speed 1.
    """

    def __init__(self) -> None:
        self.level = 0.0  # log units
        self._seen = 0

    def learn(self, record: WorkerRecord, predicted_ms: float, actual_ms: float) -> bool:
        """Take in one success: predicted at speed 1 against actual. True when the worker's group changed."""
        if predicted_ms <= 0 or actual_ms <= 0:
            return False
        off = log(predicted_ms / actual_ms)
        self._seen += 1
        self.level += (off - self.level) / min(self._seen + _LEVEL_PRIOR, _LEVEL_MEMORY)
        record.speed_samples = seen = record.speed_samples + 1  # on beyond the memory: what shrinks it must fade
        record.log_speed += (off - self.level - record.log_speed) / min(seen, _MEMORY)
        at = record.log_speed * seen / (seen + _SHRINK) / _STEP
        if -_STICK < at - record.speed_group < _STICK:
            return False
        group = max(_LOWEST, min(_HIGHEST, round(at)))
        if group == record.speed_group:
            return False
        record.speed_group = group
        record.speed = SPEEDS[group]
        return True
