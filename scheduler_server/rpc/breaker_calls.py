"""AdminService's hand on the fallback: forced, and circuits opened and closed."""

from collections.abc import Callable
from typing import Any

from scheduler_api.v1 import admin_service_pb2
from scheduler_server.assignment.events import ResetBreaker
from scheduler_server.model.standing import About, OrderKind
from scheduler_server.rpc import status
from scheduler_server.rpc.checks import Checker
from scheduler_server.rpc.shell import Shell
from scheduler_server.rpc.steering import Steering, expiry_of, reason_of


class BreakerCalls:
    """Each method: check the message, order, encode the policy or the breaker. `profile` is the one in force."""

    def __init__(
        self, shell: Shell, steering: Steering, profile: Callable[[], str], refuse_when_draining: Callable[[], None]
    ) -> None:
        self._shell = shell
        self._core = shell.core
        self._steering = steering
        self._profile = profile
        self._refuse_when_draining = refuse_when_draining

    async def ForceFallback(
        self, request: admin_service_pb2.ForceFallbackRequest, context: Any
    ) -> admin_service_pb2.ForceFallbackResponse:
        """Place by the fallback, or no longer."""
        checker = Checker()
        task_type = request.task_type
        checker.text("task_type", task_type)
        expires_s = expiry_of(checker, request)
        if expires_s is not None and not request.forced:
            checker.fault("expires_after", "only with forced: what is called off does not end by itself")
        reason = reason_of(checker, request)
        checker.done()
        self._refuse_when_draining()
        about = About(OrderKind.FALLBACK, task_type)
        async with self._steering.changing:
            if request.forced:
                await self._let_stand(about, reason, expires_s)
            else:
                await self._steering.stand(about, None)
        response = admin_service_pb2.ForceFallbackResponse()
        status.policy(response.policy, self._core, self._profile())
        return response

    async def TripBreaker(
        self, request: admin_service_pb2.TripBreakerRequest, context: Any
    ) -> admin_service_pb2.TripBreakerResponse:
        """Open a circuit."""
        checker = Checker()
        task_type = request.task_type
        checker.text("task_type", task_type)
        expires_s = expiry_of(checker, request)
        reason = reason_of(checker, request)
        checker.done()
        self._refuse_when_draining()
        async with self._steering.changing:
            await self._let_stand(About(OrderKind.TRIP, task_type), reason, expires_s)
        response = admin_service_pb2.TripBreakerResponse()
        status.breaker(response.breaker, self._core, self._shell.now(), task_type)
        return response

    async def _let_stand(self, about: About, reason: str, expires_s: float | None) -> None:
        """A new order, unless one for good stands already."""
        before = self._core.standing.orders.get(about)
        if before is None or before.until is not None or expires_s is not None:
            await self._steering.stand(about, self._steering.order(reason, expires_s))

    async def ResetBreaker(
        self, request: admin_service_pb2.ResetBreakerRequest, context: Any
    ) -> admin_service_pb2.ResetBreakerResponse:
        """Close circuits."""
        checker = Checker()
        task_type = request.task_type
        checker.text("task_type", task_type)
        if request.all_types and task_type:
            checker.fault("all_types", "not with task_type: it closes those of all types")
        reason_of(checker, request)
        checker.done()
        self._refuse_when_draining()
        response = admin_service_pb2.ResetBreakerResponse()
        async with self._steering.changing:
            names = [task_type, *(self._core.breaker.trips if request.all_types else ())]
            abouts = tuple(About(OrderKind.TRIP, name) for name in dict.fromkeys(names))
            response.closed = await self._steering.carry_out(ResetBreaker(task_type, request.all_types), abouts)
        status.breaker(response.breaker, self._core, self._shell.now(), task_type)
        return response
