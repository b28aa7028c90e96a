"""`schedctl override create | list | delete`: exceptions to the policy: pin, exclude, cap, boost."""

import argparse
import time
from itertools import islice

from scheduler_api.v1 import admin_service_pb2 as api
from scheduler_server.client import SchedulerError
from scheduler_server.schedctl import figures, options
from scheduler_server.schedctl.complaint import complaint
from scheduler_server.schedctl.fault import Asked
from scheduler_server.schedctl.paper import as_json
from scheduler_server.schedctl.table import Column
from scheduler_server.schedctl.work import Adds, Command, Work

_MOST_RUNNING = 1_000_000


def _steps(add: Adds) -> None:
    made = add("create", "pin tasks to workers, keep workers out, cap how many run, or run them sooner")
    _scope(made, "tasks")
    what = made.add_argument_group("what is different for them: one of")
    one = what.add_mutually_exclusive_group(required=True)
    one.add_argument("--pin", nargs="*", metavar="WORKER", help="only these workers; more by --label")
    one.add_argument("--exclude", nargs="*", metavar="WORKER", help="never these workers; more by --label")
    one.add_argument("--cap", type=options.whole(0, _MOST_RUNNING), metavar="N", help="not more than so many at once")
    one.add_argument("--boost", type=_delta, metavar="D", help="add this to their priority, -1 to 1")
    made.add_argument(
        "--label", action="append", default=[], type=options.label, metavar="KEY=VALUE",
        help="with --pin or --exclude: also workers with this label; again: with all of them",
    )  # fmt: skip
    made.add_argument("--preferred", action="store_true", help="with --pin: others will do while none of these can")
    made.add_argument("--for", dest="for_s", type=options.span, metavar="SPAN", help="ends by itself after this time")
    made.add_argument("--id", dest="new_id", default="", metavar="ID", help="its name; default: the server makes one")
    made.add_argument("--force", action="store_true", help="though it cannot apply now, or contradicts another")
    made.add_argument("--dry-run", action="store_true", help="check it and show it, nothing else")
    options.add_reason(made)
    made.set_defaults(run=_create)
    listing = add("list", "overrides, newest first, with how often each applied")
    listing.add_argument("--type", dest="task_type", default="", metavar="TYPE", help="that could apply to this type")
    listing.add_argument("--tenant", help="that could apply to this tenant; '' is the nameless one")
    listing.add_argument("--worker", default="", metavar="WORKER", help="that name this worker")
    listing.add_argument("--all", action="store_true", help="ended ones too, as long as they are kept")
    listing.add_argument(
        "--limit", type=options.whole(1, 10_000), default=100, metavar="N", help="at most so many (default 100)"
    )
    listing.set_defaults(run=_list)
    ended = add("delete", "end overrides; decisions made under them stand")
    ended.add_argument("override_id", nargs="+", metavar="ID")
    options.add_reason(ended)
    ended.set_defaults(run=_delete)


def _scope(parser: argparse.ArgumentParser, of: str) -> None:
    group = parser.add_argument_group(f"which {of}: those that match all that is given")
    group.add_argument("--type", dest="task_type", default="", metavar="TYPE", help="of this task type")
    group.add_argument("--tenant", help="of this tenant; '' is the nameless one")
    group.add_argument("--task", dest="task_id", default="", metavar="ID", help="this task, every attempt")


def _delta(said: str) -> float:
    try:
        value = float(said)
    except ValueError:
        value = 0.0
    if not -1.0 <= value <= 1.0 or not value:
        raise argparse.ArgumentTypeError(f"must be a number from -1 to 1, and not 0, not {said!r}")
    return value


def _create(work: Work) -> int:
    given = work.given
    if given.tenant is None and not given.task_type and not given.task_id:
        raise Asked("override create: which tasks? at least one of --type, --tenant and --task")
    about_workers = given.pin is not None or given.exclude is not None
    if given.label and not about_workers:
        raise Asked("override create: --label goes with --pin or --exclude")
    if about_workers and not (given.pin or given.exclude or given.label):
        raise Asked("override create: which workers? name them, or say --label KEY=VALUE")
    if given.preferred and given.pin is None:
        raise Asked("override create: --preferred goes with --pin")
    made = api.Override(override_id=given.new_id, reason=given.reason)
    made.scope.task_type, made.scope.task_id = given.task_type, given.task_id
    if given.tenant is not None:
        made.scope.tenant = given.tenant
    labels = dict(given.label)
    if given.pin is not None:
        made.pin.CopyFrom(api.OverridePin(worker_ids=given.pin, match_labels=labels, preferred_only=given.preferred))
    elif given.exclude is not None:
        made.exclude.CopyFrom(api.OverrideExclude(worker_ids=given.exclude, match_labels=labels))
    elif given.cap is not None:
        made.cap.max_concurrent = given.cap
    else:
        made.boost.priority_delta = given.boost
    if given.for_s is not None:
        made.expires_at.FromNanoseconds(round((time.time() + given.for_s) * 1e9))
    request = api.CreateOverrideRequest(override=made, force=given.force, dry_run=given.dry_run)
    answer: api.CreateOverrideResponse = work.ask("CreateOverride", request)
    if work.json:
        work.paper.message(answer)
        return 0
    override = answer.override
    name = override.override_id or "(no id yet)"
    would = "would apply" if given.dry_run else "applies"
    applies = f"{_action(override)} {would} to {_about(override)}{_until(override)}"
    work.paper.line(f"{name}: {applies}; revision {answer.policy_revision}")
    if answer.matching_tasks:
        work.paper.line(f"{figures.counted(answer.matching_tasks, 'task')} that it covers wait now")
    for warning in answer.warnings:
        work.note(f"warning: {warning}")
    return 0


def _list(work: Work) -> int:
    given = work.given
    request = api.ListOverridesRequest(task_type=given.task_type, worker_id=given.worker, include_ended=given.all)
    if given.tenant is not None:
        request.tenant = given.tenant
    pages = work.connection.pages("ListOverrides", request, limit=given.limit)
    found = list(islice((each for page in pages for each in page.overrides), given.limit))
    if work.json:
        work.paper.json({"overrides": [as_json(each) for each in found]})
    elif found:
        work.paper.table(_COLUMNS, found)
    else:
        asked = given.task_type or given.worker or given.tenant is not None
        work.paper.line("there is none like that" if asked else "there is no override")
    return 0


def _delete(work: Work) -> int:
    """One after the other; what fails is told, and the others end."""
    ended, failed = [], 0
    for override_id in work.given.override_id:
        request = api.DeleteOverrideRequest(override_id=override_id, reason=work.given.reason)
        try:
            answer: api.DeleteOverrideResponse = work.ask("DeleteOverride", request)
        except SchedulerError as error:
            if error.reason != "OVERRIDE_UNKNOWN":
                raise
            failed += 1
            work.note(complaint(error, work.place))
            continue
        ended.append(as_json(answer.override))
        if not work.json:
            times = figures.counted(answer.override.applied_count, "time")
            work.paper.line(f"{override_id}: ended; it applied {times}; revision {answer.policy_revision}")
    if work.json:
        work.paper.json(ended)
    return 1 if failed else 0


def _about(override: api.Override) -> str:
    scope = override.scope
    parts = []
    if scope.task_id:
        parts.append(f"task {scope.task_id}")
    if scope.task_type:
        parts.append(f"type {scope.task_type}")
    if scope.HasField("tenant"):
        parts.append(f"tenant {scope.tenant or '(nameless)'}")
    return ", ".join(parts)


def _action(override: api.Override) -> str:
    match override.WhichOneof("action"):
        case "pin":
            kind = "prefer" if override.pin.preferred_only else "pin"
            return f"{kind} {_whom(override.pin)}"
        case "exclude":
            return f"exclude {_whom(override.exclude)}"
        case "cap":
            return f"cap {override.cap.max_concurrent}"
        case _:
            return f"boost {override.boost.priority_delta:+g}"


def _whom(which: api.OverridePin | api.OverrideExclude) -> str:
    labels = "+".join(f"{name}={value}" for name, value in sorted(which.match_labels.items()))
    return ",".join([*which.worker_ids, *([labels] if labels else [])])


def _until(override: api.Override) -> str:
    return f" until {figures.instant(override.expires_at)}" if override.HasField("expires_at") else ""


_COLUMNS: list[Column[api.Override]] = [
    Column(title="ID", cell=lambda override: override.override_id),
    Column(title="TASKS", cell=_about, cuts=True),
    Column(title="ACTION", cell=_action, cuts=True),
    Column(title="APPLIED", cell=lambda override: str(override.applied_count), right=True),
    Column(title="BLOCKED", cell=lambda override: str(override.blocked_tasks), right=True, spare=2),
    Column(title="UNTIL", cell=lambda override: figures.instant_in(override, "expires_at"), spare=3),
    Column(title="BY", cell=lambda override: override.author or figures.ABSENT, cuts=True, spare=4),
    Column(title="REASON", cell=lambda override: override.reason or figures.ABSENT, cuts=True, spare=1),
    Column(title="ENDED", cell=lambda override: figures.instant_in(override, "ended_at"), spare=5),
    Column(title="MADE", cell=lambda override: figures.instant_in(override, "created_at"), wide=True),
    Column(title="LAST", cell=lambda override: figures.instant_in(override, "last_applied_at"), wide=True),
]

COMMAND = Command(steps=_steps)
