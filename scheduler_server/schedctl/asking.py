"""A task to try, from options or JSON: shared by `explain` and `workers --ranked`."""

import argparse
from pathlib import Path

from google.protobuf.json_format import Parse, ParseError

from scheduler_api.v1 import task_pb2
from scheduler_server.schedctl.fault import Asked
from scheduler_server.schedctl.work import Work

_OPTIONS = {
    "--task-type": "task_type",
    "--category": "category",
    "--priority": "priority",
    "--requires": "requires",
    "--match-label": "match_label",
    "--exclude": "worker",
    "--user": "user",
    "--feature": "feature",
}


def described(given: argparse.Namespace) -> list[str]:
    """The options that say what a task is like, of those that were typed."""
    typed = [option for option, name in _OPTIONS.items() if getattr(given, name) not in ("", [], None)]
    return [*typed, *(["--task-json"] if given.task_json else [])]


def task_of(work: Work, command: str) -> task_pb2.Task:
    """What was described. Raises Asked where that is no task."""
    given = work.given
    said = described(given)
    if given.task_json:
        if len(said) > 1:
            raise Asked(f"{command}: --task-json has all of the task; it does not go with {said[0]}")
        return _from_json(work, given.task_json, command)
    made = task_pb2.Task(
        task_type=given.task_type,
        category=given.category,
        required_capabilities=given.requires,
        match_labels=dict(given.match_label),
        excluded_workers=given.worker,
        user=given.user,
        features=dict(given.feature),
    )
    if given.priority is not None:
        made.priority = given.priority
    return made


def _from_json(work: Work, file: str, command: str) -> task_pb2.Task:
    try:
        said = work.surroundings.stdin.read() if file == "-" else Path(file).expanduser().read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise Asked(f"{command}: {file}: cannot be read: {why}") from None
    try:
        return Parse(said, task_pb2.Task())
    except ParseError as error:
        raise Asked(f"{command}: {file}: is no Task in JSON: {error}") from None
