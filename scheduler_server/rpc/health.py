"""grpc.health.v1, with List.

The package's own aio servicer leaves List unimplemented, so this one adds it.
"""

from typing import Any

from grpc_health.v1 import health_pb2
from grpc_health.v1._async import HealthServicer

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

_MOST_LISTED = 100  # the protocol's own limit; we have three


class Health(HealthServicer):
    """Per-service status; "" is the whole server."""

    def __init__(self) -> None:
        super().__init__()
        self._listed: dict[str, Any] = {}

    async def set(self, service: str, status: Any) -> None:
        """Set one service's status, and tell its watchers."""
        self._listed[service] = status
        await super().set(service, status)

    async def List(self, request: Any, context: Any) -> Any:
        """All services and their status."""
        response = health_pb2.HealthListResponse()  # type: ignore[attr-defined] # newer than its stubs
        for service in sorted(self._listed)[:_MOST_LISTED]:
            response.statuses[service].status = self._listed[service]
        return response
