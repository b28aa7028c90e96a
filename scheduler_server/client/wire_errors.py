"""How is an error read from the wire? From a failed call and from an item of a batch alike.

Nothing here raises: details that are missing, malformed or of another product leave what code and message
say.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, TypeVar, cast

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from scheduler_api.v1 import decision_pb2, schedule_service_pb2
from scheduler_server.client.errors import FieldViolation, SchedulerError, error_class
from scheduler_server.client.spans import read_duration

DOMAIN: Final = "scheduler-server"
"""The domain of this product's ErrorInfo: a reason of another domain is not one of ours."""

_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}
_NOTHING: Final[Mapping[str, str]] = {}

M = TypeVar("M", bound=Message)


def error_from_call(error: grpc.RpcError, known: Mapping[str, str] = _NOTHING) -> SchedulerError:
    """The typed error for what a stub raised, sync or aio.

    `known` are the ids that the request named: metadata for what the server left out.
    """
    call = cast(grpc.Call, error)
    try:
        status = rpc_status.from_call(call)
    except (ValueError, DecodeError):  # details that contradict the call, or that do not parse
        status = None
    code: grpc.StatusCode | None = call.code()
    if code is None:  # a stream that has not ended; the stubs say that it always has
        code = grpc.StatusCode.UNKNOWN
    details = status.details if status is not None else ()
    return _typed(code, call.details() or "", details, known)


def error_from_item(
    item: schedule_service_pb2.ItemError | status_pb2.Status, known: Mapping[str, str] = _NOTHING
) -> SchedulerError:
    """The typed error for one item of a batch: the same as a call of its own would have raised."""
    code = _CODES.get(item.code, grpc.StatusCode.UNKNOWN)
    if code is grpc.StatusCode.OK:  # an error that says OK is not an answer
        code = grpc.StatusCode.UNKNOWN
    return _typed(code, item.message, item.details, known)


def _typed(code: grpc.StatusCode, message: str, details: Any, known: Mapping[str, str]) -> SchedulerError:
    told = _Details()
    for detail in details:
        told.take(detail)
    return error_class(code, told.reason)(
        code,
        told.reason,
        message,
        {**known, **told.metadata},
        told.violations,
        told.retry_after,
        told.refusal,
    )


@dataclass(slots=True)
class _Details:
    reason: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    violations: tuple[FieldViolation, ...] = ()
    retry_after: timedelta | None = None
    refusal: decision_pb2.PlacementRefusal | None = None

    def take(self, detail: AnyMessage) -> None:
        """One detail. The first ErrorInfo of our domain counts; other types are for other readers."""
        if (info := _unpacked(detail, error_details_pb2.ErrorInfo())) and info.domain == DOMAIN:
            if not self.reason:
                self.reason, self.metadata = info.reason, dict(info.metadata)
        elif bad := _unpacked(detail, error_details_pb2.BadRequest()):
            self.violations += tuple(
                FieldViolation(field=fault.field, description=fault.description) for fault in bad.field_violations
            )
        elif retry := _unpacked(detail, error_details_pb2.RetryInfo()):
            span = read_duration(retry.retry_delay)
            self.retry_after = None if span is None else max(span, timedelta())
        elif refusal := _unpacked(detail, decision_pb2.PlacementRefusal()):
            self.refusal = refusal


def _unpacked(detail: AnyMessage, into: M) -> M | None:
    try:
        return into if detail.Unpack(into) else None
    except DecodeError:
        return None
