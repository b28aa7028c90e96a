"""`schedctl config get | set | diff | history | rollback`: what the server was told to do, by whom, and since when."""

import argparse
import json
from contextlib import suppress
from itertools import islice
from typing import Any

from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.struct_pb2 import Value

from scheduler_api.v1 import admin_service_pb2 as api
from scheduler_server.schedctl import figures, options
from scheduler_server.schedctl.fault import Asked
from scheduler_server.schedctl.paper import as_json
from scheduler_server.schedctl.table import Column
from scheduler_server.schedctl.work import Adds, Command, Work

_SECRET = "(secret)"  # noqa: S105 -- what stands for one
_LARGEST_REVISION = 2**53


def _steps(add: Adds) -> None:
    seen = add("get", "settings with their values, and where each comes from")
    seen.add_argument("setting", nargs="*", metavar="NAME", help="a setting, or a group such as scorer; default all")
    seen.add_argument("--changed", action="store_true", help="only those that do not have their default")
    seen.add_argument("--revision", type=_revision, default=0, metavar="N", help="as they were in this revision")
    seen.set_defaults(run=_get)
    changed = add("set", "change settings while the server runs; nothing is done unless all of it can be")
    changed.add_argument(
        "setting",
        nargs="*",
        type=_assignment,
        metavar="NAME=VALUE",
        help='VALUE is a number, true, false, null, a list or map as JSON, or text ("12" is the text 12)',
    )
    changed.add_argument(
        "--unset",
        action="append",
        default=[],
        metavar="NAME",
        help="back to what file, environment, flags and defaults say; also a group; again: several",
    )
    changed.add_argument(
        "--replay", type=options.whole(1, 10_000), metavar="N", help="with --dry-run: decide the last N tasks anew"
    )
    _change(changed)
    changed.set_defaults(run=_set)
    diff = add("diff", "what differs: from the defaults, from a revision, or between two of them")
    diff.add_argument(
        "since", nargs="?", type=_revision, default=0, metavar="N", help="this revision; default: the defaults"
    )
    diff.add_argument("until", nargs="?", type=_revision, default=0, metavar="M", help="and this one; default: now")
    diff.set_defaults(run=_diff)
    history = add("history", "revisions, newest first: who changed what, and why")
    history.add_argument(
        "setting", nargs="*", metavar="NAME", help="only those that changed one of these or their group"
    )
    history.add_argument(
        "--limit", type=options.whole(1, 1_000), default=20, metavar="N", help="at most so many (default 20)"
    )
    history.set_defaults(run=_history)
    back = add("rollback", "the values of an older revision, as a new one")
    back.add_argument("revision", type=_revision, metavar="N")
    _change(back)
    back.set_defaults(run=_rollback)


def _change(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="check it and show what would differ, nothing else")
    parser.add_argument("--force", action="store_true", help="though it would do harm")
    parser.add_argument(
        "--accept-restart", action="store_true", help="take settings that need a restart; they wait for it"
    )
    parser.add_argument(
        "--based-on", type=_revision, default=0, metavar="N", help="only if the configuration is at this revision"
    )
    options.add_reason(parser)


def _revision(said: str) -> int:
    return options.whole(1, _LARGEST_REVISION)(said)


def _assignment(said: str) -> tuple[str, Value]:
    """Name and value of "scorer.wait_weight=0.5"."""
    name, equals, text = said.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"must be NAME=VALUE, not {said!r}")
    plain: Any = text
    with suppress(ValueError):
        plain = json.loads(text, parse_constant=str)
    return name, ParseDict(plain, Value())


# ---------------------------------------------------------------------- looking


def _get(work: Work) -> int:
    given = work.given
    request = api.GetConfigRequest(names=given.setting, revision=given.revision, changed_only=given.changed)
    answer: api.GetConfigResponse = work.ask("GetConfig", request)
    if work.json:
        work.paper.message(answer)
        return 0
    if answer.settings:
        work.paper.table(_SETTINGS, list(answer.settings))
    else:
        work.paper.line("every setting has its default")
    work.paper.line((f"revision {answer.revision}", "dim"))
    if answer.awaiting_restart:
        work.paper.line((f"at the next start: {', '.join(answer.awaiting_restart)}", "warn"))
    return 0


def _diff(work: Work) -> int:
    given = work.given
    after: api.GetConfigResponse = work.ask("GetConfig", api.GetConfigRequest(revision=given.until))
    then = {each.name: each.default_value for each in after.settings}
    if given.since:
        before: api.GetConfigResponse = work.ask("GetConfig", api.GetConfigRequest(revision=given.since))
        then = {each.name: each.value for each in before.settings}
    changes = [
        api.SettingChange(
            name=each.name, before=then.get(each.name), after=each.value, needs_restart=each.needs_restart
        )
        for each in after.settings
        if each.value != then.get(each.name, Value()) and not each.secret
    ]
    if work.json:
        since = given.since or "defaults"
        work.paper.json({"from": since, "to": after.revision, "changes": [as_json(each) for each in changes]})
    elif changes:
        work.paper.table(_CHANGES, changes)
    else:
        work.paper.line("nothing differs")
    return 0


def _history(work: Work) -> int:
    given = work.given
    request = api.ListConfigHistoryRequest(names=given.setting)
    pages = work.connection.pages("ListConfigHistory", request, limit=given.limit)
    found = list(islice((each for page in pages for each in page.revisions), given.limit))
    if work.json:
        work.paper.json({"revisions": [as_json(each) for each in found]})
    elif found:
        work.paper.table(_REVISIONS, found)
    else:
        work.paper.line("no revision that is kept changed that")
    return 0


# ---------------------------------------------------------------------- changing


def _set(work: Work) -> int:
    given = work.given
    if not given.setting and not given.unset:
        raise Asked("config set: names no setting; NAME=VALUE, or --unset NAME")
    if given.replay and not given.dry_run:
        raise Asked("config set: --replay tries, so it goes with --dry-run")
    request = api.UpdateConfigRequest(
        reason=given.reason,
        dry_run=given.dry_run,
        force=given.force,
        accept_restart=given.accept_restart,
        based_on_revision=given.based_on,
        replay_decisions=given.replay or 0,
    )
    for name, value in given.setting:
        request.values[name].CopyFrom(value)
    if given.unset:
        request.update_mask.extend([*given.unset, *request.values])
    answer: api.UpdateConfigResponse = work.ask("UpdateConfig", request)
    _tell(work, answer)
    if not work.json and answer.HasField("effect"):
        _effect(work, answer.effect)
    return 0


def _rollback(work: Work) -> int:
    given = work.given
    request = api.RollbackConfigRequest(
        revision=given.revision,
        reason=given.reason,
        dry_run=given.dry_run,
        force=given.force,
        accept_restart=given.accept_restart,
        based_on_revision=given.based_on,
    )
    _tell(work, work.ask("RollbackConfig", request))
    return 0


def _tell(work: Work, answer: Any) -> None:
    if work.json:
        work.paper.message(answer)
        return
    if answer.changes:
        work.paper.table(_CHANGES, list(answer.changes))
    for warning in answer.warnings:
        work.paper.line((warning, "warn"))
    if work.given.dry_run:
        work.paper.line((f"nothing was done; the configuration is at revision {answer.revision}", "dim"))
    elif answer.changes:
        work.paper.line((f"revision {answer.revision}", "good"))
    else:
        work.paper.line(f"it is so already; revision {answer.revision}")


def _effect(work: Work, effect: api.ConfigEffect) -> None:
    work.paper.facts(
        [
            ("decided anew", figures.counted(effect.decisions, "decision")),
            ("other worker", figures.count(effect.changed_workers)),
            ("other source", figures.count(effect.changed_sources)),
            (
                "mean wait",
                f"{figures.span_in(effect, 'mean_wait_before')}, then {figures.span_in(effect, 'mean_wait_after')}",
            ),
            ("other health", figures.counted(effect.changed_health, "worker")),
        ]
    )
    if effect.examples:
        work.paper.table(_EXAMPLES, list(effect.examples))


# ---------------------------------------------------------------------- shown


def _value(message: Any, field: str) -> str:
    """A value as `config set` takes it."""
    if not message.HasField(field):
        return figures.ABSENT
    plain: Any = MessageToDict(getattr(message, field))
    if isinstance(plain, float) and plain.is_integer():
        plain = int(plain)
    return plain if isinstance(plain, str) and plain else json.dumps(plain, ensure_ascii=False)


def _origin(setting: api.Setting) -> str:
    said = figures.word(api.SettingOrigin, setting.origin)
    if setting.origin == api.SETTING_ORIGIN_UPDATE:
        return setting.origin_detail
    return f"{said} {setting.origin_detail}" if setting.origin_detail else said


def _names(revision: api.ConfigRevision) -> str:
    return ", ".join(f"{each.name} {_value(each, 'before')} -> {_value(each, 'after')}" for each in revision.changes)


def _why(revision: api.ConfigRevision) -> str:
    back = f"back to {revision.rolled_back_to}" if revision.rolled_back_to else ""
    return "; ".join(part for part in (back, revision.reason) if part) or figures.ABSENT


_SETTINGS: list[Column[api.Setting]] = [
    Column(title="SETTING", cell=lambda each: each.name),
    Column(title="VALUE", cell=lambda each: _SECRET if each.secret else _value(each, "value"), cuts=True),
    Column(title="ORIGIN", cell=_origin, cuts=True, spare=1),
    Column(title="DEFAULT", cell=lambda each: _value(each, "default_value"), cuts=True, spare=3),
    Column(title="LIVE", cell=lambda each: "restart" if each.needs_restart else "yes", spare=2),
    Column(title="MEANING", cell=lambda each: each.description, wide=True),
]

_CHANGES: list[Column[api.SettingChange]] = [
    Column(title="SETTING", cell=lambda each: each.name),
    Column(title="BEFORE", cell=lambda each: _value(each, "before"), cuts=True),
    Column(title="AFTER", cell=lambda each: (_value(each, "after"), "strong"), cuts=True),
    Column(title="LIVE", cell=lambda each: ("restart", "warn") if each.needs_restart else "yes", spare=1),
]

_REVISIONS: list[Column[api.ConfigRevision]] = [
    Column(title="REVISION", cell=lambda each: str(each.revision), right=True),
    Column(title="AT", cell=lambda each: figures.instant_in(each, "at"), spare=1),
    Column(title="AUTHOR", cell=lambda each: each.author, cuts=True),
    Column(title="CHANGED", cell=_names, cuts=True),
    Column(title="WHY", cell=_why, cuts=True, spare=2),
]

_EXAMPLES: list[Column[api.ChangedDecision]] = [
    Column(title="DECISION", cell=lambda each: each.decision_id, spare=2),
    Column(title="TASK", cell=lambda each: each.task.task_id, cuts=True),
    Column(title="WORKER", cell=lambda each: each.worker_before, cuts=True),
    Column(title="THEN", cell=lambda each: (each.worker_after, "strong"), cuts=True),
    Column(title="WHY", cell=lambda each: each.detail, cuts=True, spare=1),
]

COMMAND = Command(steps=_steps)
