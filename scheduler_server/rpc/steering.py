"""What calls have in common that let an operator's order stand: one at a time, and on disk before it is answered."""

import asyncio
from collections.abc import Callable
from typing import Any

from scheduler_server.access.caller import CALLER
from scheduler_server.assignment.events import Event, Ordered
from scheduler_server.model.refusal import Reason, Refusal
from scheduler_server.model.standing import About, StandingOrder
from scheduler_server.rpc import checks
from scheduler_server.rpc.checks import Checker
from scheduler_server.rpc.durable import HELD_AT_MOST_S
from scheduler_server.rpc.errors import Refused
from scheduler_server.rpc.shell import Shell


class Steering:
    """Gives orders to the core, and takes back what could not be made durable.

    Two orders at once about the same would not know what to go back to, so they come one after the other. `most` tells
    how many may stand.
    """

    def __init__(self, shell: Shell, most: Callable[[], int]) -> None:
        self._shell = shell
        self._core = shell.core
        self._most = most
        self.changing = asyncio.Lock()

    def order(self, reason: str, expires_s: float | None = None) -> StandingOrder:
        """An order by the caller, from now on."""
        now = self._shell.now().wall
        return StandingOrder(now, None if expires_s is None else now + expires_s, CALLER.get().identity, reason)

    async def stand(self, about: About, order: StandingOrder | None) -> None:
        """Let it stand, or none. Raises Refused (STORE_UNAVAILABLE, TOO_MANY_ORDERS)."""
        orders = self._core.standing.orders
        if order is not None and about not in orders and len(orders) >= self._most():
            message = f"{len(orders):,} orders stand; limits.standing_orders is {self._most():,}: end some, or raise it"
            raise Refused(Refusal(Reason.TOO_MANY_ORDERS, message, (("limit", "limits.standing_orders"),)))
        await self.carry_out(Ordered(about, order), (about,))

    async def carry_out(self, event: Event, abouts: tuple[About, ...]) -> int:
        """Give the core an event that changes these orders; how many circuits it closed.

        Raises Refused where that cannot be kept.
        """
        shell = self._shell
        before = [(about, self._core.standing.orders.get(about)) for about in abouts]
        shell.ordered = -1
        closed: int = shell.handle(event).circuits
        sequence = shell.ordered
        if sequence >= 0 and not (sequence and await shell.durable.wait(sequence, HELD_AT_MOST_S)):
            for about, order in before:
                shell.handle(Ordered(about, order))
            raise not_kept()
        return closed


def not_kept() -> Refused:
    """The journal cannot be written."""
    message = "this could not be stored to survive a restart, so nothing changed; GetStatus says what is wrong"
    return Refused(Refusal(Reason.STORE_UNAVAILABLE, message, (("store", "journal"),)))


def reason_of(checker: Checker, request: Any) -> str:
    """Why, for the record."""
    checker.text("reason", request.reason, limit=checks.MAX_DETAIL)
    given: str = request.reason
    return given


def expiry_of(checker: Checker, request: Any) -> float | None:
    """After how many seconds it ends by itself; None: never."""
    if not request.HasField("expires_after"):
        return None
    given = request.expires_after
    return checker.span_s("expires_after", given.seconds, given.nanos, above_zero=True)
