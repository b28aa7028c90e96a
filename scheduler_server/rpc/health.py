"""grpc.health.v1, with List.

The package's own aio servicer leaves List unimplemented, so this one adds it; and it lets a watcher hold up the exit
until the grace for calls is over, so this one watches by itself.
"""

import asyncio
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
        self._changed = asyncio.Event()
        self._draining = False

    async def set(self, service: str, status: Any) -> None:
        """Set one service's status, and tell its watchers."""
        self._listed[service] = status
        await super().set(service, status)
        self._rouse()

    def drain(self) -> None:
        """The server is going down: let every watcher go once it has been told how things stand."""
        self._draining = True
        self._rouse()

    def _rouse(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def Watch(self, request: Any, context: Any) -> None:
        """One service's status and each change of it, until the server goes down."""
        told = None
        while True:
            changed, draining = self._changed, self._draining
            status = self._listed.get(request.service, health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)
            if status != told:
                await context.write(health_pb2.HealthCheckResponse(status=status))
                told = status
            if draining:
                return
            await changed.wait()

    async def List(self, request: Any, context: Any) -> Any:
        """All services and their status."""
        response = health_pb2.HealthListResponse()  # type: ignore[attr-defined] # newer than its stubs
        for service in sorted(self._listed)[:_MOST_LISTED]:
            response.statuses[service].status = self._listed[service]
        return response
