"""The instruments of access control and of limits per identity; tests hold their labels to those that are used."""

from collections.abc import Iterator
from typing import Any

from scheduler_server.telemetry.instrument import Instrument, Kind, label

LIMITS = (
    "assign_per_s", "assign_in_flight", "workers", "streams", "task_types", "tenants", "labels", "capabilities",
)  # fmt: skip
REASONS = (
    "credential_missing", "credential_unknown", "credential_expired", "role_insufficient", "worker_not_yours",
)  # fmt: skip

ROWS = (
    Instrument(
        "scheduler.connections",
        Kind.UP_DOWN_COUNTER,
        "{connection}",
        "connections that are open, counted every few seconds; `server.max_connections` closes one more as it comes",
        absent="the transport does not tell",
    ),
    Instrument(
        "scheduler.calls.not_begun",
        Kind.COUNTER,
        "{call}",
        "calls that the transport ended before their method began: the request or its metadata is too large"
        " (`server.max_message_bytes`, `server.max_metadata_bytes`), or the caller went away while it sent it",
    ),
    Instrument(
        "scheduler.access.denied",
        Kind.COUNTER,
        "{call}",
        "calls, and open streams, refused or ended for want of a credential, a role, or the right to be a worker",
        (label("reason", REASONS),),
    ),
    Instrument(
        "scheduler.limits.refused",
        Kind.COUNTER,
        "{request}",
        "calls, tasks and streams refused because their identity is over one of its limits (`limits.*`)",
        (label("limit", LIMITS),),
    ),
)


def _connections(moment: Any) -> Iterator[tuple[float, tuple[str, ...]]]:
    count = moment.sources.connections()
    return iter(()) if count < 0 else iter(((count, ()),))


def _not_begun(moment: Any) -> Iterator[tuple[float, tuple[str, ...]]]:
    return iter(((moment.sources.calls.arriving.lost, ()),))


def _denied(moment: Any) -> Iterator[tuple[float, tuple[str, ...]]]:
    counts = moment.sources.denied()
    return ((counts.get(reason, 0), (reason,)) for reason in REASONS)


def _limits(moment: Any) -> Iterator[tuple[float, tuple[str, ...]]]:
    counts = moment.sources.limits_hit()
    return ((counts.get(limit, 0), (limit,)) for limit in LIMITS)


READERS = {
    "scheduler.connections": _connections,
    "scheduler.calls.not_begun": _not_begun,
    "scheduler.access.denied": _denied,
    "scheduler.limits.refused": _limits,
}
