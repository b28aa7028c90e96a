"""Settings, changes, revisions and the policy as messages; values of messages as plain ones."""

from collections.abc import Mapping
from typing import Any

from google.protobuf import struct_pb2

from scheduler_api.v1 import admin_service_pb2
from scheduler_server.assignment.core import Scheduler
from scheduler_server.assignment.order import order_of
from scheduler_server.assignment.settings import CoreSettings
from scheduler_server.config.faults import ConfigError
from scheduler_server.config.limits import describe_limits
from scheduler_server.config.live import LiveConfig
from scheduler_server.config.options import Option
from scheduler_server.config.origin import Origin, Source
from scheduler_server.config.revisions import Change, Revision, plain
from scheduler_server.rpc import encode, status
from scheduler_server.rpc.checks import Fault, Faults

_ORIGINS = {
    Source.DEFAULT: admin_service_pb2.SETTING_ORIGIN_DEFAULT,
    Source.PROFILE: admin_service_pb2.SETTING_ORIGIN_PROFILE,
    Source.FILE: admin_service_pb2.SETTING_ORIGIN_FILE,
    Source.ENVIRONMENT: admin_service_pb2.SETTING_ORIGIN_ENVIRONMENT,
    Source.FLAG: admin_service_pb2.SETTING_ORIGIN_FLAG,
    Source.UPDATE: admin_service_pb2.SETTING_ORIGIN_UPDATE,
}

_EXACT = 2**53  # whole numbers up to here are exact as the doubles that JSON and Value have


def plain_of(value: struct_pb2.Value) -> object:
    """A message's value; whole numbers as such, and None for null and for nothing."""
    kind = value.WhichOneof("kind")
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() and abs(number) <= _EXACT else number
    if kind == "list_value":
        return [plain_of(each) for each in value.list_value.values]
    if kind == "struct_value":
        return {name: plain_of(each) for name, each in value.struct_value.fields.items()}
    if kind in {"string_value", "bool_value"}:
        return value.string_value if kind == "string_value" else value.bool_value
    return None


def fill_value(message: struct_pb2.Value, value: object) -> None:
    """The other way round."""
    if isinstance(value, bool):
        message.bool_value = value
    elif isinstance(value, (int, float)):
        message.number_value = value
    elif isinstance(value, str):
        message.string_value = value
    elif isinstance(value, (list, tuple)):
        message.list_value.SetInParent()
        for each in value:
            fill_value(message.list_value.values.add(), each)
    elif isinstance(value, Mapping):
        message.struct_value.SetInParent()
        for name, each in value.items():
            fill_value(message.struct_value.fields[name], each)
    else:
        message.null_value = struct_pb2.NULL_VALUE


def fill_setting(message: Any, live: LiveConfig[Any], option: Option, value: object, origin: Origin) -> None:
    """Fill a Setting; `value` is plain."""
    path, declared = option.path, option.setting
    message.name = path
    message.origin = _ORIGINS[origin.source]
    message.origin_detail = origin.name
    message.needs_restart = live.waits(path)
    message.secret = declared.secret
    if not declared.secret:
        for field, each in (("value", value), ("default_value", plain(option.default))):
            if each is not None:
                fill_value(getattr(message, field), each)
    facts = [option.type.description, describe_limits(declared), declared.unit and f"in {declared.unit}"]
    message.description = f"{declared.help} ({', '.join(fact for fact in facts if fact)})"


def fill_change(message: Any, live: LiveConfig[Any], change: Change) -> None:
    """Fill a SettingChange."""
    message.name = change.path
    known = change.path in live.options  # not what an earlier version had
    message.needs_restart = known and live.waits(change.path)
    if known and live.is_secret(change.path):
        return
    if change.before is not None:
        fill_value(message.before, change.before)
    if change.after is not None:
        fill_value(message.after, change.after)


def fill_revision(message: Any, live: LiveConfig[Any], revision: Revision) -> None:
    """Fill a ConfigRevision."""
    message.revision = revision.number
    encode.set_instant(message.at, revision.at)
    message.author = revision.author
    message.reason = revision.reason
    message.rolled_back_to = revision.rolled_back_to
    for change in revision.changes:
        fill_change(message.changes.add(), live, change)


def fill_policy(message: Any, core: Scheduler, profile: str, settings: CoreSettings) -> None:
    """Fill a Policy as it would be under these settings."""
    status.policy(message, core, profile)
    message.ClearField("weights")
    message.ClearField("max_wait")
    message.predictor = settings.predictor.strategy
    message.scorer = settings.scorer_name
    message.weights.update(status.weights(settings.scorer_name, settings.scorer))
    message.objective = settings.assignment.objective
    message.order = order_of(settings.queue, settings.assignment.objective).name
    if settings.scorer_name == "weighted":
        encode.set_span(message.max_wait, settings.scorer.max_wait_ms / 1_000.0)


def faults_of(error: ConfigError, named: Mapping[str, object]) -> Faults:
    """What is wrong with a configuration, by the fields of the request that ask for it."""
    return Faults(
        [
            Fault(
                f"values[{fault.where}]" if fault.where in named else fault.where,
                f"{fault.message} ({fault.evidence})" if fault.evidence else fault.message,
            )
            for fault in error.faults
        ]
    )
