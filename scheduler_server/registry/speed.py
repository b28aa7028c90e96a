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


def learn_speed(record: WorkerRecord, predicted_ms: float, actual_ms: float) -> bool:
    """Take in one success: predicted at speed 1 against actual. True when the worker's group changed."""
    if predicted_ms <= 0 or actual_ms <= 0:
        return False
    record.speed_samples = seen = record.speed_samples + 1  # on beyond the memory: what shrinks the estimate must fade
    record.log_speed += (log(predicted_ms / actual_ms) - record.log_speed) / min(seen, _MEMORY)
    at = record.log_speed * seen / (seen + _SHRINK) / _STEP
    if -_STICK < at - record.speed_group < _STICK:
        return False
    group = max(_LOWEST, min(_HIGHEST, round(at)))
    if group == record.speed_group:
        return False
    record.speed_group = group
    record.speed = SPEEDS[group]
    return True
