"""A stream has ended: is the worker to come back, when, or never?

The goodbye comes first, since it says what the server means; the status tells of the streams that got none.
"""

from collections.abc import Iterable
from typing import NamedTuple

import grpc

from scheduler_api.v1.worker_pb2 import Goodbye, GoodbyeReason
from scheduler_server.worker.errors import WorkerDismissed, WorkerError, WorkerRefused, WorkerSuperseded

SUPERSEDED = b"SESSION_SUPERSEDED"
DETAILS_KEY = "grpc-status-details-bin"

COME_BACK = frozenset(
    {
        GoodbyeReason.GOODBYE_REASON_SERVER_SHUTDOWN,
        GoodbyeReason.GOODBYE_REASON_FENCED,
    }
)


class Stop(NamedTuple):
    """Do not come back. An error, or None when leaving was the worker's own wish."""

    error: WorkerError | None


class Again(NamedTuple):
    """Come back, not before `after_s`; `fault` is true when trying soon would only fail again."""

    after_s: float = 0.0
    fault: bool = False
    why: str = ""


def after_goodbye(goodbye: Goodbye) -> Stop | Again:
    """What the server's last words mean."""
    reason = goodbye.reason
    if reason == GoodbyeReason.GOODBYE_REASON_LEFT:
        return Stop(None)
    if reason == GoodbyeReason.GOODBYE_REASON_SUPERSEDED:
        return Stop(WorkerSuperseded(goodbye.message or "a newer session of this worker has taken over"))
    if reason in COME_BACK or goodbye.HasField("reconnect_after"):
        after_s = max(0.0, goodbye.reconnect_after.ToNanoseconds() / 1e9)
        return Again(after_s, why=f"goodbye {_reason_name(reason)} {goodbye.message}".rstrip())
    return Stop(WorkerDismissed(goodbye.message or f"goodbye {_reason_name(reason)}: not to come back"))


def after_status(code: grpc.StatusCode, details: str, metadata: Iterable[tuple[str, str | bytes]] = ()) -> Stop | Again:
    """What the status of a stream without a goodbye means."""
    why = f"{code.name}: {details}" if details else code.name
    match code:
        case grpc.StatusCode.UNAUTHENTICATED | grpc.StatusCode.PERMISSION_DENIED:
            return Stop(WorkerRefused(why))
        case grpc.StatusCode.ABORTED if _superseded(metadata):
            return Stop(WorkerSuperseded(details or "a newer session of this worker exists"))
        case grpc.StatusCode.INVALID_ARGUMENT | grpc.StatusCode.UNIMPLEMENTED:
            return Again(fault=True, why=why)
        case _:
            return Again(why=why)


def _superseded(metadata: Iterable[tuple[str, str | bytes]]) -> bool:
    """The contract knows one reason for ABORTED here; details, where there are any, must name it."""
    details = [value for key, value in metadata if key == DETAILS_KEY]
    return not details or any(SUPERSEDED in value for value in details if isinstance(value, bytes))


def _reason_name(reason: GoodbyeReason.ValueType) -> str:
    known = GoodbyeReason.DESCRIPTOR.values_by_number.get(reason)
    return known.name.removeprefix("GOODBYE_REASON_") if known else str(int(reason))
