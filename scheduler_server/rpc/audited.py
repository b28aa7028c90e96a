"""The table: every method that changes something, what it is about, and how to look at that.

A test holds it to the contract: a method of AdminService is listed here or only reads.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from google.protobuf import json_format

from scheduler_server.assignment.core import Scheduler
from scheduler_server.assignment.standing import scope_text
from scheduler_server.dispatch.gateway import StreamsError
from scheduler_server.model.standing import About, OrderKind, StandingOrder
from scheduler_server.rpc.calendars import calendar_message
from scheduler_server.rpc.config_calls import ConfigCalls
from scheduler_server.rpc.log_levels import level_name
from scheduler_server.rpc.stores import Stores

SECRET = "(secret)"  # noqa: S105 -- what stands in the place of one


class Sight(NamedTuple):
    """What there is to look at."""

    core: Scheduler
    stores: Stores
    config: ConfigCalls | None


class Spec(NamedTuple):
    """One method. `look` answers a value of JSON types, or waits for it; None: there is nothing.

    `skips` are requests that change nothing; `only_admins`: others do it as a part of their work. `answered`: what is
    about and there now, where only the answer tells it.
    """

    subject: Callable[[Any], str] = lambda _: ""
    look: Callable[[Sight, Any], object] = lambda _sight, _request: None
    skips: Callable[[Any], bool] = lambda request: getattr(request, "dry_run", False)
    only_admins: bool = False
    reason: Callable[[Any], str] = lambda request: request.reason
    without_secrets: Callable[[Sight, dict[str, Any]], dict[str, Any]] = lambda _sight, said: said
    answered: Callable[[Any], tuple[str, object]] | None = None


# ---------------------------------------------------------------------- workers, breaker, queue


def _order(sight: Sight, about: About) -> dict[str, object] | None:
    order: StandingOrder | None = sight.core.standing.orders.get(about)
    return None if order is None else {name: value for name, value in order._asdict().items() if value is not None}


def _cordon(sight: Sight, request: Any) -> object:
    return _order(sight, About(OrderKind.CORDON, request.worker_id))


def _calendar(sight: Sight, request: Any) -> object:
    """An operator's hours, without the table of the zone's clock; None: the worker's own hold."""
    order = sight.core.standing.orders.get(About(OrderKind.CALENDAR, request.worker_id))
    if order is None or order.calendar is None:
        return None
    told = json_format.MessageToDict(calendar_message(order.calendar), preserving_proto_field_name=True)
    return {"since": order.since, "author": order.author, "reason": order.reason, "calendar": told}


def _worker(sight: Sight, request: Any) -> object:
    record = sight.core.fleet.records.get(request.worker_id)
    if record is None:
        return None
    return {"connected": record.connected, "health": record.health.name.lower(), "leases": len(record.leases)}


def _ejection(sight: Sight, request: Any) -> object:
    """How a worker stands that was ejected; None: it was not, or that is forgotten."""
    entry = sight.core.ejecting.kept.get(request.worker_id)
    if entry is None:
        return None
    return {"stage": entry.stage.value, "times": entry.times, "reason": entry.order.reason}


def _fallback(sight: Sight, request: Any) -> object:
    return _order(sight, About(OrderKind.FALLBACK, request.task_type))


def _breaker(sight: Sight, request: Any) -> object:
    states = {name: state.name.lower() for name, state, _, _ in sight.core.breaker.states(0.0)}
    name = request.task_type
    said: dict[str, object] = {"state": states.pop(name, "closed")}
    trip = _order(sight, About(OrderKind.TRIP, name))
    if trip is not None:
        said["trip"] = trip
    if getattr(request, "all_types", False):
        states.pop("", None)
        said["types_not_closed"] = sorted(each for each, state in states.items() if state != "closed")
    return said


def _scope(request: Any) -> About:
    scope = request.scope
    return About(OrderKind.PAUSE, scope.task_type, scope.tenant if scope.HasField("tenant") else None)


def _pause(sight: Sight, request: Any) -> object:
    return _order(sight, _scope(request))


def _task(sight: Sight, request: Any) -> object:
    key = request.task
    waiter = sight.core.queue.waiting.by_task.get((key.tenant, key.task_id))
    if waiter is not None:
        task = waiter.event.task
        return {"state": "waiting", "attempt": task.attempt, "priority": task.priority}
    record = sight.core.task(key.tenant, key.task_id, key.attempt or 1)
    return None if record is None else {"state": record.state.name.lower(), "worker_id": record.worker_id}


# ---------------------------------------------------------------------- stores and settings


def _keys(sight: Sight, _request: Any) -> object:
    return {"predictor": sight.core.predictor.name, "keys": sight.core.predictor.keys}


def _snapshot(sight: Sight, _request: Any) -> object:
    keeper = sight.stores.snapshots
    return None if keeper is None else {"location": keeper.location, "last_success_at": keeper.last_success_at}


async def _letter(sight: Sight, request: Any) -> object:
    dispatcher = sight.stores.tasks
    if dispatcher is None or not request.dead_letter_id:
        return None
    try:
        letter = await dispatcher.dead_letter(request.dead_letter_id)
    except StreamsError:
        return None
    if letter is None:
        return None
    why = letter.reason.name.lower() if letter.reason is not None else ""
    return {"tenant": letter.tenant, "task_id": letter.task_id, "attempts": letter.attempts, "why": why}


def _config(sight: Sight, request: Any) -> object:
    """The revision, and what is asked about; of secrets only that they are."""
    if sight.config is None:
        return None
    live = sight.config.configuring.live
    said: dict[str, object] = {"revision": live.revision}
    names = [*getattr(request, "values", ()), *getattr(getattr(request, "update_mask", None), "paths", ())]
    values = live.history.values
    known = {path for name in names for path in live.named(name)}
    for path in sorted(known):
        said[path] = SECRET if live.is_secret(path) else values.get(path)
    return said


def _default(sight: Sight, request: Any) -> object:
    settings = sight.core.settings.predictor
    table, name = settings.type_defaults_ms, request.task_type
    if request.category:
        table, name = settings.category_defaults_ms, request.category
    return {"revision": sight.core.placement.policy_revision, "duration_ms": table.get(name)}


def _level(_sight: Sight, request: Any) -> object:
    level = level_name(request.logger)
    return None if level is None else {"level": level}


def _without_secrets(sight: Sight, said: dict[str, Any]) -> dict[str, Any]:
    """Values of settings that are known not to be secret, and names of the others: one may be mistyped."""
    live = None if sight.config is None else sight.config.configuring.live
    for name in said.get("values", {}):
        if live is None or name not in live.options or live.is_secret(name):
            said["values"][name] = SECRET
    return said


# ---------------------------------------------------------------------- overrides


def _override(sight: Sight, request: Any) -> object:
    rule = sight.core.overrides.in_force.get(request.override_id)
    return None if rule is None else {name: value for name, value in rule.override._asdict().items() if value}


def _made(answer: Any) -> tuple[str, object]:
    made = answer.override
    return made.override_id, json_format.MessageToDict(made, preserving_proto_field_name=True)


# ---------------------------------------------------------------------- drains


def _drain(sight: Sight, request: Any) -> object:
    drain = sight.core.drains.drains.get(request.drain_id)
    if drain is None:
        return None
    return {"state": drain.state.name.lower(), "workers": drain.workers, "leases": drain.left}


def _begun(answer: Any) -> tuple[str, object]:
    said = json_format.MessageToDict(answer.drain, preserving_proto_field_name=True)
    said.pop("workers", None)
    return answer.drain.drain_id, said


AUDITED: dict[str, Spec] = {
    "CordonWorker": Spec(lambda request: request.worker_id, _cordon),
    "UncordonWorker": Spec(lambda request: request.worker_id, _cordon),
    "RemoveWorker": Spec(lambda request: request.worker_id, _worker),
    "ReinstateWorker": Spec(lambda request: request.worker_id, _ejection),
    "SetWorkerCalendar": Spec(lambda request: request.worker_id, _calendar),
    "DrainWorkers": Spec(lambda request: request.drain_id, _drain, answered=_begun),
    "CancelDrain": Spec(lambda request: request.drain_id, _drain),
    "RebalanceWaiting": Spec(),
    "ForceFallback": Spec(lambda request: request.task_type, _fallback),
    "TripBreaker": Spec(lambda request: request.task_type, _breaker),
    "ResetBreaker": Spec(lambda request: request.task_type, _breaker),
    "SetPredictionDefault": Spec(lambda request: request.task_type or request.category, _default),
    "ForgetPredictions": Spec(lambda request: request.task_type or request.key, _keys),
    "LearnFromHistory": Spec(lambda request: request.task_type, _keys),
    "ReprioritizeTask": Spec(lambda request: request.task.task_id, _task),
    "PauseQueue": Spec(lambda request: scope_text(_scope(request)), _pause),
    "ResumeQueue": Spec(lambda request: scope_text(_scope(request)), _pause),
    "RetryDeadLetter": Spec(lambda request: request.dead_letter_id, _letter),
    "DiscardDeadLetter": Spec(lambda request: request.dead_letter_id, _letter),
    "CreateOverride": Spec(
        lambda request: request.override.override_id,
        answered=_made,
        reason=lambda request: request.override.reason,
    ),
    "DeleteOverride": Spec(lambda request: request.override_id, _override),
    "UpdateConfig": Spec(lambda request: next(iter(request.values), ""), _config, without_secrets=_without_secrets),
    "RollbackConfig": Spec(look=_config),
    "TakeSnapshot": Spec(look=_snapshot),
    "SetLogLevel": Spec(lambda request: request.logger, _level),
    "CancelTask": Spec(lambda request: request.task.task_id, _task, only_admins=True),
}
"""By method. Those of ScheduleService are a worker's or a producer's work; an operator may cancel tasks, too."""
