"""What could the next word be? Asked at each Tab, and found in the parser, the file of contexts, the server."""

import argparse
import re
from collections.abc import Iterable, Sequence

from scheduler_server.schedctl import contexts
from scheduler_server.schedctl.fault import Asked, Failed
from scheduler_server.schedctl.options import OneOf
from scheduler_server.schedctl.work import Surroundings

_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@%+,/-]*=?")
"""Words that mean themselves to every shell; others are not offered."""
_PATIENCE_S = 1.0
_MOST = 100


def complete(parser: argparse.ArgumentParser, words: Sequence[str], surroundings: Surroundings) -> list[str]:
    """What may stand in place of the last of `words`. Never raises: a Tab that cannot help does nothing."""
    *before, begun = words or [""]
    awaited: argparse.Action | None = None
    beside: list[str] = []
    for word in before:
        beside = []
        if awaited is not None:
            awaited = None
        elif word.startswith("-"):
            action = parser._option_string_actions.get(word)
            awaited = action if action is not None and action.nargs != 0 else None
        elif (below := steps_of(parser)) is not None:
            parser = below.get(word, parser)
            beside = [name.removeprefix(f"{word} ") for name in below if name.startswith(f"{word} ")]
    if awaited is not None:
        found = _values(awaited, begun, surroundings)
    elif begun.startswith("-"):
        found = [each for each in parser._option_string_actions if each.startswith("--")]
    elif (below := steps_of(parser)) is not None:
        found = list(below)
    else:
        places = [action for action in parser._actions if not action.option_strings]
        found = [*beside, *(value for action in places for value in _values(action, begun, surroundings))]
    return [each for each in found if each.startswith(begun) and (each.startswith("-") or _SAFE.fullmatch(each))]


def steps_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser] | None:
    """The commands below a parser, by name; None where it has none."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return None


def _values(action: argparse.Action, begun: str, surroundings: Surroundings) -> Iterable[str]:
    if action.choices is not None:
        return [str(each) for each in action.choices]
    if isinstance(action.type, OneOf):
        return action.type.names
    try:
        if action.dest in {"context", "name"}:
            return sorted(contexts.read(contexts.path(surroundings.environment)).known)
        if action.dest in {"worker_id", "worker", "pin", "exclude"}:
            return _workers(begun, surroundings)
        if action.dest == "drain_id":
            return _drains(surroundings)
        if action.dest == "override_id":
            return _overrides(surroundings)
        if action.dest in {"setting", "unset"}:
            return _settings(begun, surroundings, assigned=action.dest == "setting" and action.type is not None)
    except (Asked, Failed):
        pass
    return []


def _settings(begun: str, surroundings: Surroundings, *, assigned: bool) -> list[str]:
    """Names of settings, and of their groups up to the dot that is typed; `assigned` where a value comes behind."""
    from scheduler_api.v1 import admin_service_pb2 as api  # noqa: PLC0415 -- only where a server is asked
    from scheduler_server.client import SchedulerError  # noqa: PLC0415 -- the same
    from scheduler_server.schedctl.connection import Connection  # noqa: PLC0415 -- the same

    connection = Connection(contexts.chosen({}, surroundings.environment))
    try:
        answer = connection.ask("GetConfig", api.GetConfigRequest(), timeout_s=_PATIENCE_S)
        names = [setting.name for setting in answer.settings if setting.name.startswith(begun)]
        return [f"{name}=" for name in names] if assigned else names
    except SchedulerError:
        return []
    finally:
        connection.close()


def _drains(surroundings: Surroundings) -> list[str]:
    from scheduler_api.v1 import admin_service_pb2 as api  # noqa: PLC0415 -- only where a server is asked
    from scheduler_server.client import SchedulerError  # noqa: PLC0415 -- the same
    from scheduler_server.schedctl.connection import Connection  # noqa: PLC0415 -- the same

    connection = Connection(contexts.chosen({}, surroundings.environment))
    try:
        found = connection.ask("ListDrains", api.ListDrainsRequest(page_size=_MOST), timeout_s=_PATIENCE_S)
        return [drain.drain_id for drain in found.drains]
    except SchedulerError:
        return []
    finally:
        connection.close()


def _overrides(surroundings: Surroundings) -> list[str]:
    from scheduler_api.v1 import admin_service_pb2 as api  # noqa: PLC0415 -- only where a server is asked
    from scheduler_server.client import SchedulerError  # noqa: PLC0415 -- the same
    from scheduler_server.schedctl.connection import Connection  # noqa: PLC0415 -- the same

    connection = Connection(contexts.chosen({}, surroundings.environment))
    try:
        found = connection.ask("ListOverrides", api.ListOverridesRequest(page_size=_MOST), timeout_s=_PATIENCE_S)
        return [override.override_id for override in found.overrides]
    except SchedulerError:
        return []
    finally:
        connection.close()


def _workers(begun: str, surroundings: Surroundings) -> list[str]:
    from scheduler_api.v1 import admin_service_pb2 as api  # noqa: PLC0415 -- only where a server is asked
    from scheduler_server.client import SchedulerError  # noqa: PLC0415 -- the same
    from scheduler_server.schedctl.connection import Connection  # noqa: PLC0415 -- the same

    connection = Connection(contexts.chosen({}, surroundings.environment))
    try:
        request = api.ListWorkersRequest(id_contains=begun, page_size=_MOST)
        return [worker.worker_id for worker in connection.ask("ListWorkers", request, timeout_s=_PATIENCE_S).workers]
    except SchedulerError:
        return []
    finally:
        connection.close()
