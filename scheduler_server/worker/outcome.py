"""How a task ended, said within the contract's limits."""

from scheduler_api.v1.task_pb2 import Outcome, OutcomeStatus
from scheduler_server.worker.running import duration

MAX_RESULT_BYTES = 64 * 1024
MAX_MESSAGE_CHARS = 4_096
MAX_KIND_CHARS = 256
MAX_DURATION_S = 365 * 86_400.0


def succeeded(result: object, duration_s: float) -> Outcome:
    """A handler returned. Bytes or nothing will do; too many, or anything else, is a failure that says so."""
    if result is None:
        return _outcome(OutcomeStatus.OUTCOME_STATUS_SUCCEEDED, duration_s)
    if not isinstance(result, bytes | bytearray | memoryview):
        return failure("ResultNotBytes", f"the handler returned {type(result).__name__}, not bytes", duration_s)
    content = bytes(result)
    if len(content) > MAX_RESULT_BYTES:
        text = f"the result has {len(content)} bytes, the limit is {MAX_RESULT_BYTES}"
        return failure("ResultTooLarge", text, duration_s)
    outcome = _outcome(OutcomeStatus.OUTCOME_STATUS_SUCCEEDED, duration_s)
    outcome.result = content
    return outcome


def raised(error: BaseException, duration_s: float) -> Outcome:
    """A handler raised: TimeoutError means timed out, all else failed."""
    outcome = failure(type(error).__name__, describe(error), duration_s)
    if isinstance(error, TimeoutError):
        outcome.status = OutcomeStatus.OUTCOME_STATUS_TIMED_OUT
    return outcome


def failure(kind: str, message: str, duration_s: float) -> Outcome:
    """It failed; kind and message are cut to their limits."""
    outcome = _outcome(OutcomeStatus.OUTCOME_STATUS_FAILED, duration_s)
    outcome.error_kind = bounded(kind, MAX_KIND_CHARS)
    outcome.error_message = bounded(message, MAX_MESSAGE_CHARS)
    return outcome


def cancelled(duration_s: float | None = None) -> Outcome:
    """Somebody stopped it; without a duration, before it started."""
    return _outcome(OutcomeStatus.OUTCOME_STATUS_CANCELLED, duration_s)


def describe(error: BaseException) -> str:
    """The error's own text; an error that cannot even be printed is described by its class."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - __str__ is the handler's code and may raise whatever it likes
        return f"{type(error).__name__} (its text could not be made)"


def _outcome(status: OutcomeStatus.ValueType, duration_s: float | None) -> Outcome:
    outcome = Outcome(status=status)
    if duration_s is not None:
        outcome.duration.CopyFrom(duration(min(duration_s, MAX_DURATION_S)))
    return outcome


def check(outcome: Outcome) -> None:
    """Find what the server would refuse: it would refuse it again with every reconnect.

    Raises:
        ValueError: this outcome is none that a worker may report.
    """
    if outcome.status in {OutcomeStatus.OUTCOME_STATUS_UNSPECIFIED, OutcomeStatus.OUTCOME_STATUS_LOST}:
        raise ValueError("outcome: a worker reports succeeded, failed, cancelled or timed out")
    for name, size, limit in (
        ("error_message", len(outcome.error_message), MAX_MESSAGE_CHARS),
        ("error_kind", len(outcome.error_kind), MAX_KIND_CHARS),
        ("result", len(outcome.result), MAX_RESULT_BYTES),
    ):
        if size > limit:
            raise ValueError(f"outcome.{name}: {size} long, the limit is {limit}")
    if not 0 <= outcome.duration.ToNanoseconds() <= MAX_DURATION_S * 1e9:
        raise ValueError("outcome.duration: not within 0 to a year")


def bounded(text: str, limit: int = MAX_MESSAGE_CHARS) -> str:
    """The text's beginning, as UTF-8 can have it."""
    # Lone surrogates (file names, for one) have no UTF-8 and would fail in the middle of a heartbeat.
    return text[:limit].encode("utf-8", "replace").decode("utf-8")
