"""The one table from reason to status code, and the details that go with each error.

A refusal of the core, a fault of a message and a fault of ours all leave through `abort`: status code, message, then
google.rpc.ErrorInfo and what else the code calls for. INTERNAL tells the log everything and the caller nothing.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from math import ceil
from typing import Any, NoReturn, TypeVar

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from scheduler_api.v1 import decision_pb2, schedule_service_pb2
from scheduler_server.model.refusal import Reason, Refusal
from scheduler_server.rpc import encode
from scheduler_server.rpc.checks import Fault, Faults
from scheduler_server.telemetry.calls import MethodCalls

DOMAIN = "scheduler-server"

_LOG = logging.getLogger(__name__)

CODES: dict[Reason, int] = {
    Reason.INVALID_ARGUMENT: code_pb2.INVALID_ARGUMENT,
    Reason.NO_FREE_SLOT: code_pb2.RESOURCE_EXHAUSTED,
    Reason.NO_WORKERS: code_pb2.RESOURCE_EXHAUSTED,
    Reason.NO_ELIGIBLE_WORKER_NOW: code_pb2.RESOURCE_EXHAUSTED,
    Reason.NO_CAPABLE_WORKER: code_pb2.FAILED_PRECONDITION,
    Reason.TASK_CANCELLED: code_pb2.FAILED_PRECONDITION,
    Reason.TASK_FINISHED: code_pb2.FAILED_PRECONDITION,
    Reason.TASK_CONFLICT: code_pb2.ALREADY_EXISTS,
    Reason.TASK_UNKNOWN: code_pb2.NOT_FOUND,
    Reason.TASK_NOT_WAITING: code_pb2.FAILED_PRECONDITION,
    Reason.SCORER_UNKNOWN: code_pb2.INVALID_ARGUMENT,
    Reason.PREDICTOR_UNKNOWN: code_pb2.INVALID_ARGUMENT,
    Reason.ATTEMPT_LOST: code_pb2.ABORTED,
    Reason.START_BY_PASSED: code_pb2.DEADLINE_EXCEEDED,
    Reason.NOT_YET_DUE: code_pb2.RESOURCE_EXHAUSTED,
    Reason.QUEUE_FULL: code_pb2.RESOURCE_EXHAUSTED,
    Reason.WAIT_OVER: code_pb2.RESOURCE_EXHAUSTED,
    Reason.LEASE_MISMATCH: code_pb2.ABORTED,
    Reason.LEASE_UNKNOWN: code_pb2.NOT_FOUND,
    Reason.LEASE_OF_ANOTHER_WORKER: code_pb2.ABORTED,
    Reason.LEASE_ENDED: code_pb2.FAILED_PRECONDITION,
    Reason.WORKER_UNKNOWN: code_pb2.NOT_FOUND,
    Reason.WORKER_BUSY: code_pb2.FAILED_PRECONDITION,
    Reason.SESSION_SUPERSEDED: code_pb2.ABORTED,
    Reason.TOO_MANY_WORKERS: code_pb2.RESOURCE_EXHAUSTED,
    Reason.NOT_SUPPORTED_YET: code_pb2.UNIMPLEMENTED,
    Reason.SERVER_DRAINING: code_pb2.UNAVAILABLE,
    Reason.STREAM_SILENT: code_pb2.DEADLINE_EXCEEDED,
    Reason.REQUEST_UNREADABLE: code_pb2.INVALID_ARGUMENT,
    Reason.PAGE_TOKEN_INVALID: code_pb2.INVALID_ARGUMENT,
    Reason.RESUME_TOKEN_EXPIRED: code_pb2.OUT_OF_RANGE,
    Reason.WATCHER_TOO_SLOW: code_pb2.RESOURCE_EXHAUSTED,
    Reason.TOO_MANY_WATCHERS: code_pb2.RESOURCE_EXHAUSTED,
    Reason.NO_SNAPSHOT_STORE: code_pb2.FAILED_PRECONDITION,
    Reason.DEAD_LETTER_UNKNOWN: code_pb2.NOT_FOUND,
    Reason.UNDECODABLE: code_pb2.FAILED_PRECONDITION,
    Reason.SNAPSHOT_IN_PROGRESS: code_pb2.ABORTED,
    Reason.STORE_UNAVAILABLE: code_pb2.UNAVAILABLE,
    Reason.DECISION_UNKNOWN: code_pb2.NOT_FOUND,
    Reason.NO_HISTORY: code_pb2.FAILED_PRECONDITION,
    Reason.TOO_MANY_STEPS: code_pb2.INVALID_ARGUMENT,
    Reason.LEARNING_IN_PROGRESS: code_pb2.ABORTED,
    Reason.CREDENTIAL_MISSING: code_pb2.UNAUTHENTICATED,
    Reason.CREDENTIAL_UNKNOWN: code_pb2.UNAUTHENTICATED,
    Reason.CREDENTIAL_EXPIRED: code_pb2.UNAUTHENTICATED,
    Reason.ROLE_INSUFFICIENT: code_pb2.PERMISSION_DENIED,
    Reason.WORKER_NOT_YOURS: code_pb2.PERMISSION_DENIED,
    Reason.RATE_LIMITED: code_pb2.RESOURCE_EXHAUSTED,
    Reason.TOO_MANY_STREAMS: code_pb2.RESOURCE_EXHAUSTED,
    Reason.TOO_MANY_NAMES: code_pb2.RESOURCE_EXHAUSTED,
    Reason.REVISION_STALE: code_pb2.ABORTED,
    Reason.REVISION_UNKNOWN: code_pb2.NOT_FOUND,
    Reason.SETTING_UNKNOWN: code_pb2.NOT_FOUND,
    Reason.CONFIG_HARMFUL: code_pb2.FAILED_PRECONDITION,
    Reason.RESTART_NEEDED: code_pb2.FAILED_PRECONDITION,
    Reason.OVERRIDE_IMPOSSIBLE: code_pb2.FAILED_PRECONDITION,
    Reason.OVERRIDE_CONFLICT: code_pb2.FAILED_PRECONDITION,
    Reason.OVERRIDE_EXISTS: code_pb2.ALREADY_EXISTS,
    Reason.OVERRIDE_UNKNOWN: code_pb2.NOT_FOUND,
    Reason.TOO_MANY_OVERRIDES: code_pb2.RESOURCE_EXHAUSTED,
    Reason.TOO_MANY_ORDERS: code_pb2.RESOURCE_EXHAUSTED,
    Reason.LOGGER_UNKNOWN: code_pb2.NOT_FOUND,
    Reason.PAUSE_UNKNOWN: code_pb2.NOT_FOUND,
    Reason.DRAIN_UNKNOWN: code_pb2.NOT_FOUND,
    Reason.DRAIN_CONFLICT: code_pb2.ALREADY_EXISTS,
    Reason.DRAIN_OF_WORKER: code_pb2.FAILED_PRECONDITION,
    Reason.MATCHES_WHOLE_FLEET: code_pb2.FAILED_PRECONDITION,
    Reason.TOO_MANY_DRAINS: code_pb2.RESOURCE_EXHAUSTED,
    Reason.PREDICTION_UNKNOWN: code_pb2.NOT_FOUND,
    Reason.SHADOW_UNKNOWN: code_pb2.NOT_FOUND,
    Reason.INTERNAL: code_pb2.INTERNAL,
}


# Errors travel in trailers, whose limit is 8 KiB with most clients: the message percent-encoded (three bytes for each
# that is not printable ASCII), the details in base64 (four for three). 1,024 + 4/3 * (1,024 + 2,048 + 1,700) + what
# HTTP/2 counts for three headers stays below it.
_MESSAGE_BYTES = 1_024
_METADATA_BYTES = 1_700
_LISTS_BYTES = 2_048
_TEXT_BYTES = 256
_CUT = "..."


class NotSupported(Exception):
    """A part of the contract that this version does not do yet."""

    def __init__(self, field: str, what: str) -> None:
        super().__init__(f"{field}: this server does not support that yet: {what}")
        self.field = field


class Refused(Exception):
    """A refusal on its way to the caller."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


def status_of(error: Faults | NotSupported | Refused | Refusal) -> status_pb2.Status:
    """Code, message and details of an error."""
    if isinstance(error, Faults):
        return _status(
            Reason.INVALID_ARGUMENT, str(error), {"field": error.faults[0].field}, _bad_request(error.faults)
        )
    if isinstance(error, NotSupported):
        return _status(Reason.NOT_SUPPORTED_YET, str(error), {"field": error.field})
    refusal = error.refusal if isinstance(error, Refused) else error
    details: list[Any] = []
    metadata = dict(refusal.metadata)
    if CODES[refusal.reason] == code_pb2.INVALID_ARGUMENT and "field" in metadata:
        details.append(_bad_request([Fault(metadata["field"], refusal.message)]))
    if refusal.blocking is not None:
        told: Any = decision_pb2.PlacementRefusal
        count_of: Any = decision_pb2.RejectionCount
        placement = told(
            blocking=refusal.blocking.value,
            rejections=[count_of(reason=reason.value, count=count) for reason, count in refusal.rejections],
            missing_capabilities=_within(refusal.missing_capabilities),
            missing_labels=_within(refusal.missing_labels),
        )
        if refusal.waiting is not None:
            encode.waiting(placement.waiting, refusal.waiting._replace(detail=_short(refusal.waiting.detail)))
        details.append(placement)
    if refusal.retry_after_s is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromNanoseconds(int(refusal.retry_after_s * 1e9))
        details.append(retry)
    return _status(refusal.reason, refusal.message, metadata, *details)


def _bad_request(faults: list[Fault]) -> error_details_pb2.BadRequest:
    told = error_details_pb2.BadRequest()
    for fault in faults:
        told.field_violations.add(field=_short(fault.field), description=_short(fault.description))
        if told.ByteSize() > _LISTS_BYTES - 2 * _TEXT_BYTES:
            break
    return told


def _status(reason: Reason, message: str, metadata: dict[str, str], *details: Any) -> status_pb2.Status:
    status = status_pb2.Status(code=CODES[reason], message=_message(message))
    info = error_details_pb2.ErrorInfo(reason=reason.value, domain=DOMAIN)
    room = _METADATA_BYTES
    for name, value in metadata.items():
        kept = _short(value)
        room -= len(name) + len(kept.encode()) + 8  # tags and lengths of a map entry
        if room < 0:
            break
        info.metadata[name] = kept
    for detail in (info, *details):
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status


def _message(text: str) -> str:
    """The start of a message that fits into its trailer."""
    if len(text) <= _MESSAGE_BYTES and text.isascii() and text.isprintable() and "%" not in text:
        return text
    room = _MESSAGE_BYTES - len(_CUT)
    fits = 0  # how much of it leaves room for the cut
    for at, each in enumerate(text, 1):
        room -= 1 if " " <= each <= "~" and each != "%" else 3 * len(each.encode())
        if room >= 0:
            fits = at
        elif room < -len(_CUT):
            return text[:fits] + _CUT
    return text


def _short(text: str) -> str:
    """The start of a text that is at most _TEXT_BYTES long."""
    encoded = text.encode()
    if len(encoded) <= _TEXT_BYTES:
        return text
    return encoded[: _TEXT_BYTES - len(_CUT)].decode(errors="ignore") + _CUT


def _within(names: tuple[str, ...]) -> list[str]:
    """As many of these names as fit."""
    told: list[str] = []
    room = _LISTS_BYTES // 2 - 64
    for name in map(_short, names):
        room -= len(name.encode()) + 3
        if room < 0:
            break
        told.append(name)
    return told


def item_error(error: Faults | NotSupported | Refused | Refusal) -> schedule_service_pb2.ItemError:
    """The error of one item of many."""
    status = status_of(error)
    return schedule_service_pb2.ItemError(code=status.code, message=status.message, details=status.details)


async def abort(context: Any, error: Faults | NotSupported | Refused | Refusal) -> NoReturn:
    """End a call with an error."""
    status: Any = rpc_status.to_status(status_of(error))
    refusal = error.refusal if isinstance(error, Refused) else error
    if isinstance(refusal, Refusal) and refusal.reason is Reason.RATE_LIMITED and refusal.retry_after_s is not None:
        # For clients whose retry policy has this code: gRPC's own retries wait for so long (gRFC A6).
        pushback = ("grpc-retry-pushback-ms", str(ceil(refusal.retry_after_s * 1_000)))
        status = status._replace(trailing_metadata=(*status.trailing_metadata, pushback))
    await context.abort_with_status(status)
    raise AssertionError("abort returns to nobody")


_Method = TypeVar("_Method", bound=Callable[..., Any])

UNREADABLE = Refusal(Reason.REQUEST_UNREADABLE, "the bytes are not a message of this type; is the contract the same?")


def readable(parse: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """`parse`, but None for bytes that do not parse: raised from here it would reach the caller as UNKNOWN."""

    def read(data: bytes) -> Any:
        try:
            return parse(data)
        except DecodeError:
            return None

    return read


def on_bytes(method: _Method) -> _Method:
    """Mark a unary method that reads and writes its messages itself."""
    method.on_bytes = True  # type: ignore[attr-defined]
    return method


Unary = Callable[[Any, Any], Awaitable[Any]]


def mapped(method: Unary, name: str, calls: MethodCalls) -> Unary:
    """A unary method whose exceptions become statuses, and whose calls are counted.

    Wrapped once, at registration: an interceptor costs per call.
    """
    clock, took = time.perf_counter, calls.ok.observe
    arriving, running = calls.arriving, asyncio.current_task

    async def call(request: Any, context: Any) -> Any:
        arriving.pop(running(), None)
        calls.started += 1
        begun = clock()
        answered = False
        try:
            if request is None:  # see `readable`
                raise Refused(UNREADABLE)
            answer = await method(request, context)
            answered = True
            took(clock() - begun)
            return answer
        except (Faults, NotSupported, Refused) as error:
            await abort(context, error)
        except (grpc.aio.AbortError, grpc.aio.UsageError):
            raise
        except grpc.aio.InternalError:
            return None  # the caller went while it was being answered: there is nobody to tell
        except Exception:  # noqa: BLE001 -- the last stop: whatever it is, the log gets all of it and the caller nothing
            _LOG.exception("%s failed", name)
            await abort(context, Refusal(Reason.INTERNAL, "a fault of the server; its log has the details"))
        finally:
            if not answered:  # without a code: whoever asked has gone
                calls.ended(_status_name(context, "CANCELLED"), clock() - begun)

    return call


def counted(stream: Unary, calls: MethodCalls) -> Unary:
    """A method that streams both ways, with its calls counted; it maps its errors itself."""
    arriving = calls.arriving

    async def call(requests: Any, context: Any) -> None:
        arriving.pop(asyncio.current_task(), None)
        calls.started += 1
        begun = time.perf_counter()
        status = "CANCELLED"
        try:
            await stream(requests, context)
            status = "OK"
        finally:
            calls.ended(_status_name(context, status), time.perf_counter() - begun)

    return call


def _status_name(context: Any, otherwise: str) -> str:
    """The status that a call was ended with; a context that was told none has a 0."""
    code = context.code()
    return code.name if isinstance(code, grpc.StatusCode) else otherwise
