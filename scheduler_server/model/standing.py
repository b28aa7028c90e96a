"""Standing orders: what an operator has said holds until he says otherwise, or until it ends by itself.

Ejections are the server's own, and kept like these.
"""

from enum import StrEnum
from typing import NamedTuple

from scheduler_server.model.calendar import Calendar


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
    CALENDAR = "calendar"
    """A worker's hours are these, whatever it registers with."""
    EJECTION = "ejection"
    """A worker is given no new tasks because it failed out of line: the server's own order; see `ejecting.py`."""


class About(NamedTuple):
    """What an order is about: there is at most one of a kind about the same.

    `name` is a worker's id, or a task type with "" for all of them. `tenant` is for pauses: None is every tenant, ""
    the nameless one.
    """

    kind: OrderKind
    name: str = ""
    tenant: str | None = None


class StandingOrder(NamedTuple):
    """One order. Instants are wall seconds, so that they mean the same after a restart; `until` None is for good.

    `calendar` goes with CALENDAR alone, `times` with EJECTION: which it is, in a row.
    """

    since: float
    until: float | None = None
    author: str = ""
    reason: str = ""
    calendar: Calendar | None = None
    times: int | None = None
