"""Stretches of time in requests: TimeRange and step, checked."""

from math import ceil
from typing import Any

from scheduler_server.model.refusal import Reason, Refusal
from scheduler_server.rpc import encode
from scheduler_server.rpc.checks import Checker
from scheduler_server.rpc.errors import Refused
from scheduler_server.storage.decision_log import Span

MOST_STEPS = 10_000
MINUTE_S = 60


def read(checker: Checker, message: Any, field: str = "range") -> Span:
    """A TimeRange as a span; faults where it is malformed or reversed."""
    start = end = None
    if message.HasField("start"):
        start = checker.instant_s(f"{field}.start", message.start.seconds, message.start.nanos)
    if message.HasField("end"):
        end = checker.instant_s(f"{field}.end", message.end.seconds, message.end.nanos)
    if start is not None and end is not None and end <= start:
        checker.fault(f"{field}.end", f"must be after {field}.start")
    return Span(start, end)


def step_s(checker: Checker, request: Any) -> int:
    """The step of a request in seconds, whole minutes; 0 without one."""
    if not request.HasField("step"):
        return 0
    seconds = checker.span_s("step", request.step.seconds, request.step.nanos)
    if not checker.faults and (seconds < MINUTE_S or seconds % MINUTE_S):
        checker.fault("step", f"must be a whole number of minutes, at least one (got {seconds:g} s)")
    return int(seconds)


def limit_steps(span: Span, step: int, now: float) -> None:
    """Refuse more stretches than there may be. Without a start only those that hold something are made."""
    if not step or span.start is None:
        return
    steps = ceil(max(0.0, (now if span.end is None else span.end) - span.start) / step)
    if steps > MOST_STEPS:
        message = f"range has {steps:,} steps of {step} s; the limit is {MOST_STEPS:,}: ask for longer ones"
        about = (("field", "step"), ("steps", str(steps)), ("limit", str(MOST_STEPS)))
        raise Refused(Refusal(Reason.TOO_MANY_STEPS, message, about))


def fill(message: Any, span: Span) -> None:
    """Fill a TimeRange."""
    message.SetInParent()
    if span.start is not None:
        encode.set_instant(message.start, span.start)
    if span.end is not None:
        encode.set_instant(message.end, span.end)
