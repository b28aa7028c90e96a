"""Which of the waiting tasks is next? Strategies; smaller keys go first.

Keys are absolute: worked out once, when a task begins to wait, and never touched by the passing of time. What ages does
so because everything that comes later starts from a later time.
"""

from collections.abc import Callable
from typing import NamedTuple

from scheduler_server.assignment.queue_settings import OBJECTIVES, QueueSettings


class Coming(NamedTuple):
    """What an order looks at.

    When a task began to wait (monotonic seconds), its priority 0-1, its predicted mean duration, and what the backlog
    that it came to allows others (`backlog.py`).
    """

    since: float
    priority: float
    mean_s: float
    allowance_s: float


class Order(NamedTuple):
    """One strategy. `by_tenant`: the tenant that has had least for its weight first, then the key among its own.

    `basis` is what its keys rest on: two orders of one name and basis have the same keys.
    """

    name: str
    key: Callable[[Coming], float]
    by_tenant: bool = False
    basis: tuple[str | float, ...] = ()


def _fifo(_settings: QueueSettings, _objective: str) -> Order:
    """First come, first served."""
    return Order("fifo", lambda coming: coming.since, basis=("fifo",))


def _priority(settings: QueueSettings, _objective: str) -> Order:
    """As if it had come earlier: by `priority_worth_s` for the highest priority, in proportion for others.

    Every task ages at the same rate, so one that has waited that much longer than another goes first whatever the
    other's priority: nobody starves.
    """
    worth = settings.priority_worth_s
    return Order("priority", lambda coming: coming.since - worth * coming.priority, basis=("priority", worth))


def _shortest(settings: QueueSettings, objective: str) -> Order:
    """As if it had come later, by `patience` times its predicted mean and `backlog_patience` times its allowance.

    Short tasks overtake long ones, and the bound is part of the key: a task is never overtaken by what came later than
    that. The mean, and not the median: what a long task costs the others is how long it takes on average (weighted
    shortest expected processing time, Rothkopf 1966). Priority counts as in `priority`.
    """
    worth, patience = settings.priority_worth_s, settings.patience_for(objective)
    backlog = settings.backlog_patience_for(objective)
    return Order(
        "shortest",
        lambda coming: coming.since + patience * coming.mean_s + backlog * coming.allowance_s - worth * coming.priority,
        basis=("shortest", patience, worth, backlog),
    )


def _fair(settings: QueueSettings, _objective: str) -> Order:
    """By tenant, in predicted slot-seconds over weight; among a tenant's own by priority with aging."""
    worth = settings.priority_worth_s
    return Order("fair", lambda coming: coming.since - worth * coming.priority, by_tenant=True, basis=("fair", worth))


def order_of(settings: QueueSettings, objective: str) -> Order:
    """The order that is set, or that of the objective, with its patience."""
    return ORDERS[settings.order or OBJECTIVES[objective].order](settings, objective)


ORDERS: dict[str, Callable[[QueueSettings, str], Order]] = {
    "fifo": _fifo,
    "priority": _priority,
    "shortest": _shortest,
    "fair": _fair,
}
