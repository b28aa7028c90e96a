"""From four sources and a profile to one frozen, checked configuration; or to every fault at once."""

import dataclasses
import typing
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from scheduler_server.config.faults import BadValue, ConfigError, Fault, suggestion
from scheduler_server.config.limits import limit_faults
from scheduler_server.config.options import Option, options_of
from scheduler_server.config.origin import DEFAULT, Origin, Source
from scheduler_server.config.sources import (
    CONFIG_FLAG,
    CONFIG_VARIABLE,
    Given,
    from_python,
    read_environment,
    read_file,
    read_flags,
)
from scheduler_server.config.text import printable, shown

if typing.TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")

BUILT_IN_SWITCHES = {
    "help": "print this text and exit",
    "print-config": "print the effective configuration with the origin of each value, and exit",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded(Generic[T]):
    """A configuration without faults, and where each value came from (`origins`, by path).

    With `wants_help` nothing was checked, and `config` is the schema's default.
    """

    config: T
    origins: Mapping[str, Origin]
    options: tuple[Option, ...]
    switches: frozenset[str]
    file: Path | None

    @property
    def wants_help(self) -> bool:
        """`--help` or `-h` was given."""
        return "help" in self.switches

    @property
    def wants_print_config(self) -> bool:
        """`--print-config` was given."""
        return "print-config" in self.switches

    def value(self, path: str) -> object:
        """The value at a dotted path."""
        found: object = self.config
        for name in path.split("."):
            found = getattr(found, name)
        return found


def load(
    schema: type[T],
    argv: Sequence[str],
    environ: Mapping[str, str],
    *,
    profiles: Mapping[str, Mapping[str, object]] | None = None,
    profile_setting: str = "profile",
    switches: Mapping[str, str] | None = None,
    ignored_variables: Collection[str] = (),
) -> Loaded[T]:
    """Fill `schema` by flags > environment > file > profile > defaults.

    Args:
        schema: frozen dataclass of `setting(...)` fields and further such dataclasses, each with a default.
        argv: what follows the program's name (and the subcommand, if there is one).
        environ: usually `os.environ`; only `SCHEDULER_*` is looked at.
        profiles: name -> {path: value}; the setting at `profile_setting` names the one that applies. "" or
            "default" without an entry here means none.
        profile_setting: path of that setting.
        switches: further flags without a value: name -> help; see `Loaded.switches`.
        ignored_variables: `SCHEDULER_*` names that are somebody else's.

    Raises:
        ConfigError: with every fault of every source.
        ValueError, TypeError: the schema or a profile is itself defective.
    """
    options = options_of(schema)
    flags = read_flags(argv, options, [*BUILT_IN_SWITCHES, *(switches or {})])
    if "help" in flags.switches:
        return _result(schema(), {option.path: DEFAULT for option in options}, options, flags.switches, None)
    environment = read_environment(environ, options, ignored_variables)
    faults = flags.faults + environment.faults
    path = flags.config_file if flags.config_file is not None else environment.config_file
    given: dict[str, Given] = {}
    if path == "":
        faults.append(Fault(CONFIG_FLAG, "needs a path"))
    elif path is not None:
        file = read_file(path, options)
        faults += _naming_config_source(file.faults, flags.config_file is not None)
        given |= file.given
    given |= environment.given | flags.given
    profile, profile_faults = _profile(options, given, profiles or {}, profile_setting)
    given = profile | given
    faults += profile_faults
    values, value_faults = _values(options, given)
    origins = {option.path: given[option.path].origin if option.path in given else DEFAULT for option in options}
    config, section_faults = _build(schema, values, options, origins, "")
    faults += value_faults + section_faults
    if faults or config is None:
        raise ConfigError(dict.fromkeys(faults))
    return _result(config, origins, options, flags.switches, Path(path) if path else None)


def _result(
    config: T, origins: dict[str, Origin], options: tuple[Option, ...], switches: set[str], file: Path | None
) -> Loaded[T]:
    return Loaded(config=config, origins=origins, options=options, switches=frozenset(switches), file=file)


def _naming_config_source(faults: list[Fault], by_flag: bool) -> list[Fault]:
    """A file that cannot be used was asked for by a flag or a variable: say by which."""
    asked = f"from flag {CONFIG_FLAG}" if by_flag else f"from environment {CONFIG_VARIABLE}"
    return [dataclasses.replace(fault, evidence=fault.evidence or asked) for fault in faults]


def _profile(
    options: Sequence[Option],
    given: Mapping[str, Given],
    profiles: Mapping[str, Mapping[str, object]],
    setting: str,
) -> tuple[dict[str, Given], list[Fault]]:
    by_path = {option.path: option for option in options}
    for name, values in profiles.items():
        unknown = sorted(set(values) - (by_path.keys() - {setting}))
        if unknown:
            raise ValueError(f"profile {name} sets what no setting is called: {', '.join(unknown)}")
    if not profiles:
        return {}, []
    if setting not in by_path:
        raise ValueError(f"there are profiles, but no setting {setting} to choose one")
    try:
        chosen = given[setting].read() if setting in given else by_path[setting].default
    except BadValue:
        return {}, []  # reported as a value
    name = str(getattr(chosen, "value", chosen) or "")
    if name in profiles:
        origin = Origin(Source.PROFILE, name)
        return {path: from_python(by_path[path], raw, origin) for path, raw in profiles[name].items()}, []
    if name in ("", "default") or by_path[setting].setting.choices:
        return (
            {},
            [],
        )  # none wanted; or the choices of the declaration refuse it, or allow it without an effect
    known = ", ".join(profiles)
    origin = given[setting].origin if setting in given else DEFAULT
    message = f"must be one of {known}{suggestion(name, list(profiles))}"
    return {}, [Fault(setting, message, f"got {printable(name)}, from {origin}")]


def _values(options: Sequence[Option], given: Mapping[str, Given]) -> tuple[dict[str, object], list[Fault]]:
    """Typed values within their limits by path; a path with a fault is missing."""
    values: dict[str, object] = {}
    faults: list[Fault] = []
    for option in options:
        source = given.get(option.path)
        origin = source.origin if source else DEFAULT
        try:
            value = source.read() if source else option.default
        except BadValue as bad:
            messages = [str(bad)]
        else:
            messages = list(limit_faults(option.setting, value))
            if not messages:
                values[option.path] = value
        secret = option.setting.secret
        evidence = f"got {shown(source.raw if source else option.default, secret=secret)}, from {origin}"
        # A message may repeat the value itself (a map's key, a near match); of a secret it says nothing.
        faults += [Fault(option.path, "is not valid" if secret else printable(text), evidence) for text in messages]
    return values, faults


def _build(
    schema: type[T],
    values: Mapping[str, object],
    options: Sequence[Option],
    origins: Mapping[str, Origin],
    section: str,
) -> tuple[T | None, list[Fault]]:
    """The dataclass of one section, inner ones first; None where a value is missing or a check fails."""
    hints = typing.get_type_hints(schema)
    arguments: dict[str, Any] = {}
    faults: list[Fault] = []
    for field in dataclasses.fields(schema):
        path = f"{section}.{field.name}" if section else field.name
        if dataclasses.is_dataclass(hints[field.name]):
            inner, inner_faults = _build(hints[field.name], values, options, origins, path)
            faults += inner_faults
            if inner is not None:
                arguments[field.name] = inner
        elif path in values:
            arguments[field.name] = values[path]
    if len(arguments) < len(dataclasses.fields(schema)):
        return None, faults
    try:
        built = schema(**arguments)
    except ValueError as error:
        return None, [*faults, Fault(section or "configuration", printable(str(error)))]
    check = getattr(built, "faults", None)
    secrets = {option.path: option.setting.secret for option in options}
    for name, message in check() if callable(check) else ():
        path = f"{section}.{name}" if section and name else section or name
        evidence = ""
        if path in secrets:
            evidence = f"got {shown(values[path], secret=secrets[path])}, from {origins[path]}"
        faults.append(Fault(path or "configuration", printable(message), evidence))
    return (None if faults else built), faults
