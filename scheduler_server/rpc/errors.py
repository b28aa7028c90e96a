"""The one table from reason to status code, and the details that go with each error.

A refusal of the core, a fault of a message and a fault of ours all leave through `abort`: status code, message, then
google.rpc.ErrorInfo and what else the code calls for. INTERNAL tells the log everything and the caller nothing.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import grpc
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from scheduler_api.v1 import decision_pb2, schedule_service_pb2
from scheduler_server.model.refusal import Reason, Refusal
from scheduler_server.rpc.checks import Fault, Faults

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
    Reason.ATTEMPT_LOST: code_pb2.ABORTED,
    Reason.START_BY_PASSED: code_pb2.DEADLINE_EXCEEDED,
    Reason.LEASE_MISMATCH: code_pb2.ABORTED,
    Reason.LEASE_UNKNOWN: code_pb2.NOT_FOUND,
    Reason.LEASE_OF_ANOTHER_WORKER: code_pb2.ABORTED,
    Reason.LEASE_ENDED: code_pb2.FAILED_PRECONDITION,
    Reason.WORKER_UNKNOWN: code_pb2.NOT_FOUND,
    Reason.SESSION_SUPERSEDED: code_pb2.ABORTED,
    Reason.TOO_MANY_WORKERS: code_pb2.RESOURCE_EXHAUSTED,
    Reason.NOT_SUPPORTED_YET: code_pb2.UNIMPLEMENTED,
    Reason.SERVER_DRAINING: code_pb2.UNAVAILABLE,
    Reason.STREAM_SILENT: code_pb2.DEADLINE_EXCEEDED,
    Reason.REQUEST_UNREADABLE: code_pb2.INVALID_ARGUMENT,
    Reason.INTERNAL: code_pb2.INTERNAL,
}

_STATUS = {code.value[0]: code for code in grpc.StatusCode}

_MOST_NAMES = 20
"""Missing names told: details travel in trailers, whose limit is 8 KiB with most clients."""
_LONGEST_MESSAGE = 2_000


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
    if refusal.reason is Reason.INVALID_ARGUMENT:
        details.append(_bad_request([Fault(metadata.get("field", ""), refusal.message)]))
    if refusal.blocking is not None:
        details.append(
            decision_pb2.PlacementRefusal(
                blocking=refusal.blocking.value,
                rejections=[
                    decision_pb2.RejectionCount(reason=reason.value, count=count)
                    for reason, count in refusal.rejections
                ],
                missing_capabilities=refusal.missing_capabilities[:_MOST_NAMES],
                missing_labels=refusal.missing_labels[:_MOST_NAMES],
            )
        )
    if refusal.retry_after_s is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromNanoseconds(int(refusal.retry_after_s * 1e9))
        details.append(retry)
    return _status(refusal.reason, refusal.message, metadata, *details)


def _bad_request(faults: list[Fault]) -> error_details_pb2.BadRequest:
    return error_details_pb2.BadRequest(
        field_violations=[
            error_details_pb2.BadRequest.FieldViolation(field=fault.field, description=fault.description)
            for fault in faults
        ]
    )


def _status(reason: Reason, message: str, metadata: dict[str, str], *details: Any) -> status_pb2.Status:
    status = status_pb2.Status(code=CODES[reason], message=message[:_LONGEST_MESSAGE])
    info = error_details_pb2.ErrorInfo(reason=reason.value, domain=DOMAIN, metadata=metadata)
    for detail in (info, *details):
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status


def item_error(error: Faults | NotSupported | Refused | Refusal) -> schedule_service_pb2.ItemError:
    """The error of one item of many."""
    status = status_of(error)
    return schedule_service_pb2.ItemError(code=status.code, message=status.message, details=status.details)


async def abort(context: Any, error: Faults | NotSupported | Refused | Refusal) -> NoReturn:
    """End a call with an error."""
    await context.abort_with_status(rpc_status.to_status(status_of(error)))
    raise AssertionError("abort returns to nobody")


Unary = Callable[[Any, Any], Awaitable[Any]]


def mapped(method: Unary, name: str) -> Unary:
    """A unary method whose exceptions become statuses. Wrapped once, at registration: an interceptor costs per call."""

    async def call(request: Any, context: Any) -> Any:
        try:
            return await method(request, context)
        except (Faults, NotSupported, Refused) as error:
            await abort(context, error)
        except (grpc.aio.AbortError, grpc.aio.UsageError):
            raise
        except Exception:
            _LOG.exception("%s failed", name)
            await abort(context, Refusal(Reason.INTERNAL, "a fault of the server; its log has the details"))

    return call


def grpc_code(number: int) -> grpc.StatusCode:
    """The grpc.StatusCode of a canonical number."""
    return _STATUS[number]
