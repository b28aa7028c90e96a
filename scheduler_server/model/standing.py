"""Standing orders: what an operator has said holds until he says otherwise, or until it ends by itself."""

from enum import StrEnum
from typing import NamedTuple


class OrderKind(StrEnum):
    """What is ordered; the values are for the journal."""

    CORDON = "cordon"
    """A worker is given no new tasks."""
    PAUSE = "pause"
    """Waiting tasks of a scope are not started."""
    FALLBACK = "fallback"
    """Tasks of a type, or all, are placed without predictor and scorer."""
    TRIP = "trip"
    """A circuit breaker is open, and makes no trial."""


class About(NamedTuple):
    """What an order is about: there is at most one of a kind about the same.

    `name` is a worker's id, or a task type with "" for all of them. `tenant` is for pauses: None is every tenant, ""
    the nameless one.
    """

    kind: OrderKind
    name: str = ""
    tenant: str | None = None


class StandingOrder(NamedTuple):
    """One order. Instants are wall seconds, so that they mean the same after a restart; `until` None is for good."""

    since: float
    until: float | None = None
    author: str = ""
    reason: str = ""
