"""The decision log as GetStatus tells it."""

from typing import Any

from scheduler_api.v1 import admin_service_pb2
from scheduler_server.history.history import History
from scheduler_server.rpc import encode
from scheduler_server.rpc.stores import DECISION_LOG

_HOLDS_BACK = (
    "tasks are placed as ever; what happens meanwhile waits to be written, and is dropped and counted beyond"
    " history.max_pending; questions about history are refused (STORE_UNAVAILABLE)"
)
_LACKS = "tasks are placed as ever; the decision log lacks what was dropped, and so do figures over time"


def fill(status: Any, history: History) -> None:
    """Fill a StoreStatus."""
    status.name = DECISION_LOG
    now = history.status()
    if now is None:
        status.state = admin_service_pb2.STORE_STATE_DISABLED
        status.warnings.append(f"no history is kept: {history.why_none}")
        return
    status.backend = now.backend
    status.location = now.location
    status.state = (
        admin_service_pb2.STORE_STATE_UNAVAILABLE
        if not now.healthy
        else admin_service_pb2.STORE_STATE_DEGRADED
        if now.dropped
        else admin_service_pb2.STORE_STATE_OK
    )
    status.pending = now.pending
    status.dropped = now.dropped
    status.written = now.written
    status.consecutive_failures = now.consecutive_failures
    status.last_error = now.last_error or ""
    status.records = history.size.decisions
    status.size_bytes = history.size.size_bytes
    status.warnings.extend([*history.warnings, *now.warnings])
    if history.learned_at_start is not None:
        encode.set_instant(status.restored_at, history.learned_at_start)
    if now.last_success_at is not None:
        encode.set_instant(status.last_success_at, now.last_success_at)
        encode.set_span(status.age, max(0.0, history.now().wall - now.last_success_at))


def consequence(unavailable: bool) -> str:
    """What it means that it does not work, or has dropped something."""
    return _HOLDS_BACK if unavailable else _LACKS
